"""Steps a second of a fit of many taxa on two cores: of one thread, of two, and of two processes that torchrun starts.

    VBPI_MIX_DATA=... python benchmarks/ranks.py [--seconds 10] [--turns 3] [--taxa 436] [--model JC69 GTR+G4]

On rbcl (436 taxa, 1,371 sites) the support is that of two random trees and some of their neighbours: what a step costs hardly
depends on which trees there are. The three take turns; each turn is a process of its own, or two, that has made some steps before
it is timed. The bounds of all turns must be the same, digit for digit. Processor time of a step is that of one process, of the
first of two, and of the second, which waits for the rest of the time; beside other programs it says more than the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping

import numpy as np
import torch
import torch.distributed as dist
from common import data_folder

from vbpi_mix.estimators import Estimator
from vbpi_mix.followers import Answer, Followers, follow, leading
from vbpi_mix.messages import Message, meet
from vbpi_mix.phylo.branches.base import make_base
from vbpi_mix.phylo.config import FitConfig
from vbpi_mix.phylo.follower import TreeFollower
from vbpi_mix.phylo.inputs import read_fitted, say_nothing
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.shared import LIKELIHOODS
from vbpi_mix.phylo.parameters import ParameterDensity
from vbpi_mix.phylo.sampling.widen import nni_neighbours
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.tables import layout
from vbpi_mix.phylo.trees.topology import canonicalise, random_topologies, unique_topologies
from vbpi_mix.training.adam import make_adam
from vbpi_mix.training.mixture_problem import MixtureProblem
from vbpi_mix.training.provenance import use_threads

NEIGHBOURS, WARM_UP, COMPONENTS, SAMPLED = 100, 5, 4, 2
# Processes and the threads of each.
CASES = ((1, 1), (1, 2), (2, 1))


def make_problem(n_taxa: int, model: str) -> MixtureProblem:
    """A = 4, S = 2, K = 10, S2A on the first taxa of rbcl."""
    from vbpi_mix.phylo.data.alignment import Alignment, read_alignment

    read = read_alignment(data_folder() / "rbcl" / "rbcl.phy.gz")
    alignment = Alignment(read.taxa[:n_taxa], np.ascontiguousarray(read.states[:n_taxa]))
    fitted = read_fitted(alignment, FitConfig.of(substitution=model), say_nothing)[1]
    rng = np.random.default_rng(0)
    trees = random_topologies(n_taxa, 2, rng)
    near = [rng.permutation(of_tree)[:NEIGHBOURS] for of_tree in nni_neighbours(trees)]
    children = unique_topologies(canonicalise(np.concatenate([trees, *near]))[0])[0]
    support, generator = build_support(children), torch.Generator().manual_seed(1)
    characters = fitted.posterior.characters
    mixture = PhyloMixture(
        support, COMPONENTS, generator=generator, base=make_base("gamma"), side_by_side=layout(COMPONENTS, True),
        parameters=characters and ParameterDensity(characters.blocks, support.n_splits, COMPONENTS, generator, None),
    )  # fmt: skip
    return MixtureProblem(
        "phylo", fitted.posterior, mixture, estimator=Estimator.S2A, sampled=SAMPLED, particles=10, direct=True
    )


def time_steps(n_taxa: int, model: str, seconds: float) -> dict[str, float]:
    """Steps a second, and the bound of the last of the first steps."""
    problem = make_problem(n_taxa, model)
    optimiser = make_adam(problem.parameter_groups())
    optimiser.set_learning_rate(1e-4)
    generator = torch.Generator().manual_seed(1)

    def step() -> float:
        objective = problem.objective(1, 1.0, generator)
        bound = objective.bound.item()
        optimiser.zero_grad()
        optimiser.step(objective.backward())
        return bound

    for _ in range(WARM_UP):
        bound = step()
    start, cpu, steps = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds:
        step()
        steps += 1
    own = 1e3 * (time.process_time() - cpu) / steps
    return {"rate": steps / (time.perf_counter() - start), "bound": bound, "cpu": own}


def timed(answers: Mapping[str, Answer], times: list[float]) -> Mapping[str, Answer]:
    """The same answers; times: processor time at the beginning of each likelihood."""

    def likelihoods(message: Message) -> Message | None:
        times.append(time.process_time())
        return answers[LIKELIHOODS](message)

    return {**answers, LIKELIHOODS: likelihoods}


def work(options: argparse.Namespace, model: str) -> None:
    """In a process that was started: print what was timed, or follow the first process."""
    use_threads(int(os.environ["VBPI_MIX_TURN_THREADS"]), torch_threads=1)
    if os.environ.get("WORLD_SIZE", "1") == "1":
        print(json.dumps(time_steps(options.taxa, model, options.seconds)))
        return
    dist.init_process_group("gloo")
    channel = meet()
    if dist.get_rank():
        times: list[float] = []
        follow(channel, Message("hello"), timed(TreeFollower().answers, times))
        print(json.dumps({"cpu of other": 1e3 * (times[-1] - times[WARM_UP]) / (len(times) - 1 - WARM_UP)}))
    else:
        team = Followers(channel, dist.get_world_size())
        for rank in range(1, team.size):
            team.greeting(rank)
        with leading(team):
            print(json.dumps(time_steps(options.taxa, model, options.seconds)), flush=True)
        team.end(0)
    dist.destroy_process_group()


def turn(processes: int, threads: int, model: str) -> dict[str, float]:
    """What one process finds, or several do."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    own = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": str(threads), "VBPI_MIX_TURN_THREADS": str(threads)}
    environment = {**os.environ, **own, "VBPI_MIX_TURN": model}
    command = [sys.executable, *launcher, __file__, *sys.argv[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = {}
    for line in done.stdout.splitlines():
        found |= json.loads(line)
    return found


def main() -> None:
    """Print medians over turns, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--taxa", type=int, default=436)
    parser.add_argument("--model", nargs="+", default=["JC69", "GTR+G4"])
    options = parser.parse_args()
    if "VBPI_MIX_TURN" in os.environ:
        work(options, os.environ["VBPI_MIX_TURN"])
        return
    print("steps/s   one thread  two threads  ratio  two processes  ratio (of each turn)  processor ms: one process  of two")
    for model in options.model:
        rates: dict[tuple[int, int], list[float]] = {case: [] for case in CASES}
        cpu: dict[str, list[float]] = {"one": [], "first": [], "second": []}
        bounds = set()
        for _ in range(options.turns):
            for case, own in rates.items():
                found = turn(*case, model)
                own.append(found["rate"])
                if case == (1, 1):
                    cpu["one"].append(found["cpu"])
                elif "cpu of other" in found:
                    cpu["first"].append(found["cpu"])
                    cpu["second"].append(found["cpu of other"])
                bounds.add(found["bound"])
        if len(bounds) > 1:
            sys.exit(f"{model}: the bounds differ: {sorted(bounds)}")
        one, threads, two = (statistics.median(own) for own in rates.values())
        each = " ".join(f"{b / a:.2f}" for a, b in zip(rates[1, 1], rates[2, 1], strict=True))
        alone, first, second = (statistics.median(own) for own in cpu.values())
        print(
            f"{model:8s} {one:11.2f} {threads:12.2f} {threads / one:6.2f} {two:14.2f} {two / one:6.2f} ({each})   "
            f"{alone:.1f}  {first:.1f} and {second:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
