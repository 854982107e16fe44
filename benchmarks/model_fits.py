"""Fits under GTR+G4: an iteration against one under JC69, and processor seconds from the alignment alone to the table.

    VBPI_MIX_DATA=... python benchmarks/model_fits.py step
    VBPI_MIX_DATA=... python benchmarks/model_fits.py fits --data primates DS1 --seeds 1

step: DS1, A = 4, S = 2, S2A, K = 10, support of two files of 10,000 UFBoot trees, one thread. Both models take turns, and the
fastest turn of each counts: on a busy machine it is the least disturbed. fits: default settings, the built-in sampler, kernels
compiled before; seconds are of the whole process.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import alignment_file, data_folder, median_seconds, support_of
from fresh_fit import fit_apart, warm_up

import vbpi_mix
from vbpi_mix.estimators import Estimator
from vbpi_mix.phylo.branches.base import make_base
from vbpi_mix.phylo.config import ModelConfig
from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.parameters import ParameterDensity, ParameterStart
from vbpi_mix.phylo.parts import data_parts, posterior_of
from vbpi_mix.phylo.prior_choices import Priors
from vbpi_mix.phylo.sbn.support import SubsplitSupport
from vbpi_mix.training.adam import make_adam
from vbpi_mix.training.mixture_problem import MixtureProblem
from vbpi_mix.training.provenance import use_threads

MODELS = ("JC69", "GTR+G4")
COMPONENTS, SAMPLED, PARTICLES = 4, 2, 10
TURNS, REPEATS = 8, 30
# Processor seconds that a fit should take, and how many times an iteration under JC69 one should.
WANTED_SECONDS = {"primates": 60.0, "DS1": 300.0}
WANTED_RATIO = 8.0


def make_step(model: str, support: SubsplitSupport, logits: np.ndarray) -> Callable[[], None]:
    """One training iteration on DS1, as the trainer does it."""
    parts = data_parts(read_alignment(alignment_file("DS1")), model)
    posterior = posterior_of(parts, ModelConfig(substitution=model), Priors.default(support.n_taxa))
    generator = torch.Generator().manual_seed(1)
    densities = None
    if posterior.n_parameters:
        characters = posterior.characters
        unit = ParameterStart.unit(characters.blocks, support.n_splits)
        # As narrow as a posterior is, about where models begin.
        start = ParameterStart(characters.start(), tuple(0.1 * each for each in unit.scale), unit.drift)
        densities = ParameterDensity(characters.blocks, support.n_splits, COMPONENTS, generator, start)
    mixture = PhyloMixture(
        support, COMPONENTS, generator=generator, logits=logits, base=make_base("gamma"), parameters=densities
    )
    problem = MixtureProblem(
        "phylo", posterior, mixture, estimator=Estimator.S2A, sampled=SAMPLED, particles=PARTICLES, direct=True
    )
    optimiser = make_adam(problem.parameter_groups())
    optimiser.set_learning_rate(1e-4)

    def step() -> None:
        objective = problem.objective(1, 1.0, generator)
        optimiser.zero_grad()
        optimiser.step(objective.backward())

    return step


def steps() -> None:
    """Print milliseconds per iteration under both models, and their ratio."""
    use_threads(1, torch_threads=1)
    support, logits = support_of("DS1")
    made = {model: make_step(model, support, logits) for model in MODELS}
    fastest = dict.fromkeys(MODELS, np.inf)
    for _ in range(TURNS):
        for model, step in made.items():
            fastest[model] = min(fastest[model], 1e3 * median_seconds(step, REPEATS, 5))
    first, second = fastest.values()
    print(f"DS1, {support.n_params:,} support elements, A = 4, S = 2, S2A, K = 10, one thread")
    ratio = f"ratio {second / first:.2f}, at most {WANTED_RATIO:g}"
    print(f"milliseconds per iteration: JC69 {first:.2f}, GTR+G4 {second:.2f}; {ratio}")


def file_of(name: str) -> Path:
    """The alignment of a data set."""
    return data_folder() / "primates" / "primates.nex" if name == "primates" else alignment_file(name)


def wanted(name: str) -> str:
    """What a fit may take."""
    return f"wanted {WANTED_SECONDS[name]:g}" if name in WANTED_SECONDS else "nothing wanted"


def shown(facts: Mapping[str, Any]) -> str:
    """Where the time of the clock went, and what the answer is worth."""
    value = next(each for each in facts["marginal_log_likelihood"] if each["form"] == "weighted")
    return (
        f"start {facts['setup_seconds']:.0f} s, {facts['iterations']:,} iterations in {facts['seconds']:.0f} s, answer "
        f"{facts['answer_seconds']:.0f} s; log p(Y) {value['mean']:.2f} ({value['error']:.2f}), effective sample size "
        f"{facts['effective_sample_size']:.0f} of {facts['answer_draws']:,}, k {facts['pareto_k']:.2f}, {facts['verdict']}"
    )


def fits(names: list[str], seeds: list[int], model: str) -> None:
    """Print a line for each fit, and its table of parameters."""
    warm_up({"model": model})
    for name in names:
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "run.vbpi"
                cost = fit_apart(file_of(name), out, choices={"model": model, "seed": seed})
                run = vbpi_mix.load(out)
                cost_of = f"{cost.cpu:.0f} processor seconds, {wanted(name)}"
                print(f"{name}, {model}, seed {seed}: {cost_of}; {shown(run.summary)}", flush=True)
                for each in run.parameters():
                    print(f"  {each.name:10s} {each.mean:.5g} ({each.error:.2g}), sd {each.sd:.3g}", flush=True)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("step", "fits"))
    parser.add_argument("--data", nargs="+", default=["primates", "DS1"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--model", default="GTR+G4")
    options = parser.parse_args()
    if options.what == "step":
        steps()
    else:
        fits(options.data, options.seeds, options.model)


if __name__ == "__main__":
    main()
