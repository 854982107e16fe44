"""Runs whose files are damaged: read, or refused in one short line, and nothing else happens.

`pytest -m slow tests/test_damaged_runs.py` tries for FUZZ_MINUTES (10) with each file of each kind of run.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import damaged_bytes, damaged_texts, damaged_value, read_or_refuse, try_for_minutes, try_often
from hypothesis import strategies as st

import vbpi_mix
from vbpi_mix.errors import CheckpointError, VbpiMixError
from vbpi_mix.evaluation import draw_log_weights
from vbpi_mix.image.run import load as load_images
from vbpi_mix.phylo.parts import restore_parts
from vbpi_mix.phylo.results import combined_forms
from vbpi_mix.toy.run import load as load_toy

LARGE = 50_000
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FIT = ("fit", EXAMPLES / "eight.nex", "--trees", EXAMPLES / "eight.nwk", "--A", 2, "--S", 1, "--K", 2, "--iterations", 3,
       "--answer-draws", 20)  # fmt: skip
COMMANDS = {
    "fit": FIT,
    "fit-parameters": (*FIT, "--flow", "planar", "--model", "HKY+G4"),
    "toy": ("toy", "--target", "ring", "--approximation", "mixture", "--A", 2, "--K", 2, "--iterations", 3),
    "image": ("image", "digits", "--A", 1, "--latent", 1, "--epochs", 1),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """made("fit"): the run of that command, which no test changes."""
    from vbpi_mix_cli.main import main

    folder, runs = tmp_path_factory.mktemp("runs"), {}

    def make(name):
        if name not in runs:
            runs[name] = folder / f"{name}.vbpi"
            main([*map(str, COMMANDS[name]), "--out", str(runs[name]), "--quiet"])
        return runs[name]

    return make


def use_fit(path):
    """Read, and drawn from: what compiled code is given has been checked."""
    vbpi_mix.load(path).evaluate(importance_samples=2, repeats=1)


READERS = {"fit": use_fit, "fit-parameters": use_fit, "toy": load_toy, "image": load_images}


def check_of(name, place, file, how):
    """What files are tried, and the check of one of them in the run at `place`."""

    def check_text(content):
        file.write_bytes(content)
        read_or_refuse(READERS[name], place)

    def check_values(seed):
        # What was learned, in most of them: it is what compiled code is given.
        damaged = damaged_value(values, seed) if seed % 4 == 0 else {**values, "problem": damaged_value(values["problem"], seed)}
        torch.save(damaged, file)
        read_or_refuse(READERS[name], place)

    if how == "text" and file.stat().st_size > LARGE:
        content = file.read_bytes()
        return st.integers(0, 2**32), lambda seed: check_text(damaged_bytes(content, seed))
    if how == "text":
        return damaged_texts([file.read_bytes()]), check_text
    values = torch.load(file, weights_only=True)
    return st.integers(0, 2**32), check_values


CASES = [
    (name, how, file)
    for name in READERS
    for how, file in (("text", "config.yaml"), ("text", "summary.json"), ("text", "checkpoint.pt"), ("values", "checkpoint.pt"))
]
# Its kernels take minutes to compile.
QUICK_CASES = [case for case in CASES if case[0] != "fit-parameters"]


def try_case(made, place, name, how, file):
    shutil.copytree(made(name), place)
    return check_of(name, place, sorted(place.rglob(file))[0], how)


@pytest.mark.parametrize(("name", "how", "file"), QUICK_CASES)
def test_a_damaged_run_is_read_or_refused_in_one_line(made, tmp_path, name, how, file):
    try_often(*try_case(made, tmp_path / "x.vbpi", name, how, file), examples=25)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "how", "file"), CASES)
def test_damaged_runs_for_minutes(made, tmp_path, name, how, file):
    try_for_minutes(*try_case(made, tmp_path / "x.vbpi", name, how, file))


def with_shape(state):
    """The same, but for an array that has a dimension more."""
    learned = state["problem"]
    name = next(name for name, value in learned.items() if isinstance(value, torch.Tensor) and value.dim() == 2)
    return {**state, "problem": {**learned, name: learned[name][None]}}


# What such tries have found.
FOUND = {
    "configuration": lambda state: {**state, "config": ""},
    "nothing learned": lambda state: {**state, "problem": None},
    "shape": with_shape,
}


@pytest.mark.parametrize("name", ["fit", "toy"])
@pytest.mark.parametrize("found", FOUND)
def test_what_was_found(made, tmp_path, name, found):
    place = tmp_path / "x.vbpi"
    shutil.copytree(made(name), place)
    (file,) = place.rglob("checkpoint.pt")
    torch.save(FOUND[found](torch.load(file, weights_only=True)), file)
    assert not read_or_refuse(READERS[name], place)


def test_forms_of_the_evidence_that_are_none_are_left_out():
    """A damaged summary.json had one, and `eval` ended in a traceback."""
    new = {"form": "pooled", "mean": -2.0}
    before = [{"form": "(weighted", "mean": 1.0}, {"form": "weighted", "mean": -1.0}, {"mean": 3.0}, "pooled", {"form": []}]
    entries = {"elbo": -3.0, "marginal_log_likelihood": [new]}
    assert combined_forms(entries, before) == {**entries, "marginal_log_likelihood": [new, before[1]]}
    assert combined_forms(entries, {"form": "weighted"}) == entries


@pytest.mark.parametrize("weight", [np.nan, np.inf, 1e30, 0.0, -1.0])
def test_sites_of_a_checkpoint_are_counted_in_numbers(weight):
    part = {"name": "all", "alphabet": "dna", "symbols": "ACGT", "model": "HKY", "states": torch.ones(4, 2, dtype=torch.uint8)}
    state = {"taxa": list("abcd"), "parts": [{**part, "weights": torch.tensor([2.0, 3.0], dtype=torch.float64)}]}
    assert restore_parts(state)[0].sites == 5
    state["parts"][0]["weights"][1] = weight
    with pytest.raises(CheckpointError, match="the site patterns of the checkpoint are damaged"):
        restore_parts(state)


def test_a_mixture_whose_parameters_have_no_density_is_told_in_one_line():
    class Flat:
        n_components = 2

        def sample(self, *given):
            raise np.linalg.LinAlgError("Singular matrix")

    with pytest.raises(VbpiMixError, match=r"its parameters are damaged; fit anew \(Singular matrix\)"):
        draw_log_weights(Flat(), None, 10, torch.Generator())
