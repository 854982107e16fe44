"""Time of 100 repeats of 1,000 importance samples on DS1 at A = 1 (the networks as fitted to UFBoot trees by EM).

    VBPI_MIX_DATA=... python benchmarks/evaluation.py [threads]
"""

from __future__ import annotations

import sys
import time

import torch
from common import patterns_of, support_of

from vbpi_mix.evaluation import evaluate
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.training.provenance import use_threads


def main() -> None:
    """Print seconds, and microseconds per sample."""
    threads = use_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2, torch_threads=1)
    patterns, _ = patterns_of("DS1")
    support, logits = support_of("DS1")
    generator = torch.Generator().manual_seed(1)
    mixture = PhyloMixture(support, 1, generator=generator, logits=logits)
    target = Posterior(patterns)
    evaluate(mixture, target, importance_samples=1000, repeats=2, generator=generator)
    start = time.perf_counter()
    evaluate(mixture, target, importance_samples=1000, repeats=100, generator=generator)
    seconds = time.perf_counter() - start
    print(f"DS1, A = 1, {threads} threads: 100 x 1,000 importance samples in {seconds:.1f} s, {10 * seconds:.0f} us each")


if __name__ == "__main__":
    main()
