"""Mutation testing: `python tests/mutation/run.py [--modules NAME ...] [--share 0.2] [--out FILE]`; Linux, an hour or more.

Every fault of mutants.py is put into a module in memory, no file is touched, and the tests of that module are run in a
process of their own until the first fails. Listed are the faults that all of them miss. Those that change no answer are named,
with the reason, in harmless.txt and not tried. docs/development/results.md says what was found.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType

import mutants as faults

ROOT = Path(__file__).resolve().parents[2]
HARMLESS = Path(__file__).with_name("harmless.txt")
# Module: its test files, the quickest first.
TESTS = {
    "vbpi_mix.evaluation": ["tests/test_estimates_by_hand.py"],
    "vbpi_mix.estimators.bounds": ["tests/test_estimates_by_hand.py", "tests/estimators/test_estimator_bounds.py"],
    "vbpi_mix.estimators.components": ["tests/estimators/test_estimator_components.py", "tests/estimators"],
    "vbpi_mix.estimators.gradients": ["tests/estimators/test_direct_objective.py", "tests/estimators"],
    "vbpi_mix.estimators.weights": ["tests/estimators/test_step_weights.py"],
    "vbpi_mix.training.mixture_problem": ["tests/training/test_mixture_problem.py"],
    "vbpi_mix.phylo.assess.divergence": ["tests/diagnostics/test_diagnostics.py"],
    "vbpi_mix.phylo.assess.coverage": ["tests/diagnostics/test_coverage.py"],
    "vbpi_mix.phylo.assess.verdict": ["tests/diagnostics/test_verdict.py"],
    "vbpi_mix.phylo.trees.credible": ["tests/phylo/test_credible.py", "tests/phylo/test_tree_sample.py"],
    "vbpi_mix.phylo.trees.sample": ["tests/phylo/test_tree_sample.py", "tests/phylo/test_tree_conditions.py"],
    "vbpi_mix.phylo.sbn.splits": ["tests/diagnostics/test_splits.py"],
    "vbpi_mix.phylo.sbn.averages": ["tests/phylo/test_learned_weights.py"],
    "vbpi_mix.phylo.sbn.networks": ["tests/phylo/test_em_steps.py", "tests/phylo/test_subsplits.py"],
    "vbpi_mix.phylo.sbn.mixtures": ["tests/phylo/test_em_steps.py", "tests/phylo/test_network_mixtures.py"],
    "vbpi_mix.phylo.sampling.convergence": ["tests/mcmc/test_convergence.py"],
    "vbpi_mix.phylo.sampling.sampler": ["tests/mcmc/test_sampler_rules.py", "tests/mcmc/test_mcmc_sampler.py"],
    "vbpi_mix.phylo.report.hpd": ["tests/phylo/test_export_draws.py"],
    "vbpi_mix.phylo.report.consensus": ["tests/phylo/test_consensus.py"],
    "vbpi_mix.phylo.report.answer": [
        "tests/phylo/test_consensus.py", "tests/phylo/test_export_texts.py", "tests/phylo/test_weighted_answer.py",
    ],
    "vbpi_mix.phylo.report.weighted": ["tests/phylo/test_weighted_answer.py"],
    "vbpi_mix.phylo.report.batches": ["tests/phylo/test_consensus.py", "tests/phylo/test_learned_weights.py"],
    "vbpi_mix.phylo.report.summaries": ["tests/phylo/test_consensus.py"],
    "vbpi_mix.phylo.report.export_draws": [
        "tests/phylo/test_consensus.py", "tests/phylo/test_export_texts.py", "tests/phylo/test_export_draws.py",
    ],
    "vbpi_mix.phylo.report.export_trees": ["tests/phylo/test_export_texts.py"],
    "vbpi_mix.phylo.report.export_files": ["tests/phylo/test_export_texts.py"],
    "vbpi_mix.phylo.report.rooting": ["tests/phylo/test_rooting.py"],
}  # fmt: skip
# A test that fails to end is taken to have noticed; so many times as long as the tests take on the true module.
_PATIENCE, _LEAST_SECONDS = 4.0, 20.0


def main(arguments: Sequence[str]) -> int:
    """Exit status 1 if a fault is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", nargs="+", default=list(TESTS), choices=list(TESTS), metavar="NAME")
    parser.add_argument("--share", type=float, default=1.0, help="Of the faults, picked at random.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=Path, help="Faults that are listed in this file, as --out writes them, and no others.")
    parser.add_argument("--out", type=Path, help="Where the faults that are missed are listed too.")
    chosen = parser.parse_args(arguments)
    rng, missed = random.Random(chosen.seed), list[str]()
    only = None if chosen.only is None else set(chosen.only.read_text(encoding="utf-8").splitlines())
    os.chdir(ROOT)
    _load_libraries()
    caught = tried = 0
    for module in chosen.modules:
        source = _source(module)
        harmless = {line.split(" # ")[0] for line in HARMLESS.read_text(encoding="utf-8").splitlines()}
        known = [each for each in faults.mutants(source) if f"{module}: {each.key}" not in harmless]
        if only is not None:
            known = [each for each in known if f"{module}: {each.key}" in only]
        some = sorted(rng.sample(known, round(chosen.share * len(known))), key=lambda each: each.line)
        seconds = _seconds_of_tests(module)
        survivors = []
        for fault in some:
            code = compile(fault.tree, _path(module), "exec")
            if _passes(module, code, max(_LEAST_SECONDS, _PATIENCE * seconds)):
                survivors.append(f"{module}: {fault.key}")
                print(f"  missed, line {fault.line}: {fault.key}", flush=True)
        tried, caught = tried + len(some), caught + len(some) - len(survivors)
        missed += survivors
        print(f"{module}: {len(some) - len(survivors)} of {len(some)} faults noticed ({seconds:.0f} s each at most)", flush=True)
        if chosen.out:
            chosen.out.write_text("".join(f"{line}\n" for line in missed), encoding="utf-8")
    print(f"all: {caught} of {tried} faults noticed, {caught / max(1, tried):.1%}")
    return int(bool(missed))


def _load_libraries() -> None:
    """What every test needs and no fault is put into, so that processes need not."""
    for name in ("dendropy", "numba", "pytest", "torch", "yaml", "click"):
        importlib.import_module(name)


def _path(module: str) -> str:
    return str(ROOT / Path(*module.split(".")).with_suffix(".py"))


def _source(module: str) -> str:
    return Path(_path(module)).read_text(encoding="utf-8")


def _seconds_of_tests(module: str) -> float:
    start = time.perf_counter()
    if not _passes(module, compile(_source(module), _path(module), "exec"), 3600.0):
        raise SystemExit(f"{module}: its tests fail as it is: {' '.join(TESTS[module])}")
    return time.perf_counter() - start


def _passes(module: str, code: CodeType, limit: float) -> bool:
    """Whether the tests of a module pass with this code in its place."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os._exit(_run_tests(module, code))
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _run_tests(module: str, code: CodeType) -> int:
    import pytest

    sys.meta_path.insert(0, _Finder(module, code))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *TESTS[module]]))


class _Finder:
    """Finds one module, whose code is given."""

    def __init__(self, module: str, code: CodeType) -> None:
        self._module, self._code = module, code

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self._module:
            return None
        code = self._code

        class Loader(SourceFileLoader):
            def get_code(self, fullname: str) -> CodeType:
                return code

        return importlib.util.spec_from_file_location(name, _path(name), loader=Loader(name, _path(name)))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
