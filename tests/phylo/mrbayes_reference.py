"""What long MrBayes runs say of a posterior, and how far an answer is from it.

A reference is a JSON object: how it was run ("program"), {name: [mean, variance]} as "parameters", perhaps with the effective
size of the draws as a third number, and stepping-stone estimates of log p(Y) as "stepping_stone", if there are any; the trees
of its run are a .trprobs file beside it. A name of several parts has the
part's number in braces, as MrBayes writes it: kappa{2}.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vbpi_mix.phylo.sbn.splits import largest_difference, split_frequencies, unite
from vbpi_mix.phylo.trees.sample import read_tree_sample

# The least effective size of a parameter's draws in runs that do not say it.
LEAST_SIZE = 400
# What is wanted: of means in sds, of sds in proportion, of split frequencies; but for sds, Monte Carlo errors come on top.
MEAN, SD, SPLIT = 0.1, 0.1, 0.01


@dataclass(frozen=True, eq=False)
class Reference:
    """Of a run of MrBayes: mean, sd and effective size of each parameter, trees, and estimates of log p(Y), if any."""

    parameters: dict[str, tuple[float, float, float]]
    trees: Path
    evidence: tuple[float, ...]


@dataclass(frozen=True)
class Line:
    """A parameter, or the largest difference of split frequencies, or log p(Y): found and expected with their sds (of an
    estimate: its error), the difference and the most it may be."""

    name: str
    found: tuple[float, float]
    expected: tuple[float, float]
    difference: float
    most: float
    sd_ratio: float | None = None

    @property
    def right(self) -> bool:
        """Whether this is as wanted."""
        return abs(self.difference) <= self.most and (self.sd_ratio is None or abs(self.sd_ratio - 1.0) <= SD)

    def __str__(self) -> str:
        ratio = "" if self.sd_ratio is None else f"; sd ratio {self.sd_ratio:.3f}"
        return (
            f"{self.name}: {self.found[0]:.5g} ({self.found[1]:.3g}), MrBayes {self.expected[0]:.5g} ({self.expected[1]:.3g}); "
            f"difference {self.difference:.3g} of at most {self.most:.3g}{ratio}{'' if self.right else '  MISS'}"
        )


def read_reference(path: Path) -> Reference:
    """From a JSON file and the .trprobs beside it."""
    found = json.loads(path.read_text())
    parameters = {
        name: (values[0], math.sqrt(values[1]), values[2] if len(values) > 2 else LEAST_SIZE)
        for name, values in found["parameters"].items()
    }
    return Reference(parameters, path.with_suffix(".trprobs"), tuple(found.get("stepping_stone", {}).get("runs", ())))


def lines(run: Any, reference: Reference) -> list[Line]:
    """A line for every parameter of the reference, for splits, and for log p(Y) if the reference has it.

    Parameters of a part are those of the reference with the part's number. KeyError if the run lacks one.
    """
    found = run.parameters()
    # Multipliers name every part, in order.
    order = [each.partition for each in found if each.name.startswith("m{")]
    own = {
        each.name if each.partition is None or each.name.startswith("m{")
        else f"{each.name}{{{order.index(each.partition) + 1}}}": each
        for each in found
    }  # fmt: skip
    made = []
    for name, (mean, sd, size) in reference.parameters.items():
        mine = own[name]
        # In sds, with both Monte Carlo errors.
        most = MEAN + 1.0 / math.sqrt(size) + mine.error / sd
        made.append(Line(name, (mine.mean, mine.sd), (mean, sd), (mine.mean - mean) / sd, most, mine.sd / sd))
    made.append(_splits(run, reference))
    if reference.evidence:
        made.append(_evidence(run, reference.evidence))
    return made


def _splits(run: Any, reference: Reference) -> Line:
    sample = read_tree_sample([reference.trees], run.taxa)
    table = unite(run.answer().frequencies(), split_frequencies(sample.children, sample.weights))
    largest, row = largest_difference(table)
    mine, theirs = (float(x) for x in table.frequencies[:, row])
    # Trees mix no better than the parameter that mixes worst, it is supposed.
    size = min(each[2] for each in reference.parameters.values())
    error = math.sqrt(theirs * (1.0 - theirs) / size)
    return Line("split that differs most", (mine, 0.0), (theirs, error), largest, SPLIT + error)


def _evidence(run: Any, estimates: Sequence[float]) -> Line:
    """log p(Y) against the mean of stepping stones, whose error is that of their spread; two joint errors at most."""
    (weighted,) = (each for each in run.summary["marginal_log_likelihood"] if each["form"] == "weighted")
    mean, error = float(np.mean(estimates)), float(np.std(estimates, ddof=1) / math.sqrt(len(estimates)))
    joint = math.hypot(error, weighted["error"])
    return Line("log p(Y)", (weighted["mean"], weighted["error"]), (mean, error), weighted["mean"] - mean, 2.0 * joint)
