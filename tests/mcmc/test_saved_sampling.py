"""A sampler that is killed goes on from its file: the same trees, digit for digit, as one that was not."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chain_helpers import random_patterns, target_of
from held_models import HeldTarget, gtr, random_states

import vbpi_mix
from vbpi_mix.errors import ConfigError
from vbpi_mix.messages import Message, decode, encode
from vbpi_mix.phylo.fit import resume
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.sampling import saved
from vbpi_mix.phylo.sampling.chains import Chains
from vbpi_mix.phylo.sampling.sampler import McmcOptions, McmcReport, sample_trees
from vbpi_mix.phylo.sampling.saved import SavedSampling

TAXA = tuple("abcdefgh")
OPTIONS = McmcOptions(generations=4_000, seed=3, keep=800, steps=10)
DIGEST = 32
EIGHT = Path(vbpi_mix.__file__).parents[1] / "examples" / "eight.nex"


class Killed(BaseException):
    """As sudden as can be within a process."""


@pytest.fixture(autouse=True)
def _saved_at_every_turn(monkeypatch):
    monkeypatch.setattr(saved, "SECONDS_BETWEEN", 0.0)


def jukes_cantor():
    return target_of(random_patterns(8, 20, np.random.default_rng(1)))


def two_parts():
    rng = np.random.default_rng(2)
    return HeldTarget([gtr(rng, alpha=0.5), gtr(rng, invariant=0.2)], [random_states(8, 12, 4, rng) for _ in range(2)])


def constrained():
    patterns = random_patterns(8, 20, np.random.default_rng(1))
    return target_of(patterns, topology_prior=TopologyPrior.of(8, [frozenset({1, 2, 3})]))


def killed_after(reports, target, options, place):
    """The generations that a sampler had made when it was killed, after so many reports."""
    return reports_of(target, options, place, reports + 1)[-1].generations


def reports_of(target, options, place, count):
    """The first reports, from that of no generations on, of a sampler that is killed with the last of them."""
    found = []

    def progress(report):
        found.append(report)
        if len(found) == count:
            raise Killed

    with pytest.raises(Killed):
        sample_trees(target, TAXA, options, progress, place)
    return found


def assert_same(first, second):
    assert first.generations == second.generations
    assert (repr(first.convergence), first.acceptance) == (repr(second.convergence), second.acceptance)
    assert [row[1:] for row in first.trace] == [row[1:] for row in second.trace]
    for name in ("children", "weights", "tree_topology", "tree_weights", "lengths"):
        np.testing.assert_array_equal(getattr(first.sample, name), getattr(second.sample, name))


@pytest.mark.parametrize("make", [jukes_cantor, two_parts, constrained])
def test_a_sampler_that_is_killed_again_and_again_goes_on_as_if_it_had_not_been(make, tmp_path):
    target, place = make(), SavedSampling(tmp_path / "here")
    whole = sample_trees(target, TAXA, OPTIONS)
    reached = [killed_after(reports, target, OPTIONS, place) for reports in (1, 30, 30, 100)]
    assert reached == sorted(set(reached))
    assert reached[-1] < whole.generations
    assert_same(sample_trees(target, TAXA, OPTIONS, saved=place), whole)


def test_chains_that_began_from_searched_trees_go_on(tmp_path):
    target, options, place = jukes_cantor(), replace(OPTIONS, climb=True, local_share=0.5), SavedSampling(tmp_path / "here")
    whole = sample_trees(target, TAXA, options)
    killed_after(50, target, options, place)
    assert_same(sample_trees(target, TAXA, options, saved=place), whole)


def test_what_is_sampled_is_not_sampled_again(tmp_path, monkeypatch):
    target, place = jukes_cantor(), SavedSampling(tmp_path / "here")
    whole = sample_trees(target, TAXA, OPTIONS, saved=place)
    advance = Chains.advance

    def only_compile(self, rounds, *others, **named):
        assert rounds == 0
        advance(self, rounds, *others, **named)

    monkeypatch.setattr(Chains, "advance", only_compile)
    assert_same(sample_trees(target, TAXA, OPTIONS, saved=place), whole)


def test_seconds_of_before_count(tmp_path):
    target, options = jukes_cantor(), replace(OPTIONS, generations=None, seconds=1e9, asdsf=None)
    place = SavedSampling(tmp_path / "here")
    before, after = reports_of(target, options, place, 30), reports_of(target, options, place, 2)
    assert after[0].seconds == after[0].generations == 0
    assert after[1].generations == before[-1].generations + options.steps
    assert after[1].seconds > before[-1].seconds


def test_it_is_saved_now_and_then_and_not_before_it_is_worth_it(tmp_path, monkeypatch):
    monkeypatch.setattr(saved, "SECONDS_BETWEEN", 3600.0)
    sample_trees(jukes_cantor(), TAXA, OPTIONS, saved=SavedSampling(tmp_path / "here"))
    assert not (tmp_path / "here").exists()


def altered(content, **arrays):
    """The file with other arrays, by their place, under a digest that fits."""
    message = decode(np.frombuffer(content, np.uint8)[DIGEST:])
    changed = tuple(arrays.get(f"at{k}", array) for k, array in enumerate(message.arrays))
    new = encode(Message(message.word, message.facts, changed)).tobytes()
    return hashlib.sha256(new).digest() + new


def broken(content):
    """What is no state of this sampler, by what is wrong with it."""
    arrays = decode(np.frombuffer(content, np.uint8)[DIGEST:]).arrays
    twin, length, focus, rng, chain_at, children = arrays[0], arrays[1], arrays[3], arrays[5], arrays[6], arrays[10]
    # Two cherries apart from the rest, each joined with itself.
    loops = twin.copy()
    loops[0, :6] = [1, 0, 5, 4, 3, 2]
    return {
        "cut short": content[: len(content) // 2],
        "a bit": content[:500] + bytes([content[500] ^ 1]) + content[501:],
        "nothing": b"",
        "no message": hashlib.sha256(b"x").digest() + b"x",
        "beyond the tree": altered(content, at0=np.where(twin == 3, 10**9, twin)),
        "not joined": altered(content, at0=np.roll(twin, 1, axis=1)),
        "no tree": altered(content, at0=loops),
        "focus": altered(content, at3=focus - 10**6),
        "random numbers": altered(content, at5=rng + 2**40),
        "chains": altered(content, at6=chain_at * 0),
        "topologies": altered(content, at10=children * 0),
        "other lengths": altered(content, at1=length * 2),
        "other shapes": altered(content, at3=focus[:-1]),
    }


def test_a_file_of_no_use_is_as_good_as_none(tmp_path):
    target, path = jukes_cantor(), tmp_path / "here"
    options = replace(OPTIONS, generations=3000)
    whole = sample_trees(target, TAXA, options)
    first = killed_after(1, target, options, SavedSampling(path))
    path.unlink()
    assert killed_after(100, target, options, SavedSampling(path)) > first
    content = path.read_bytes()
    for what, other in broken(content).items():
        path.write_bytes(other)
        assert killed_after(1, target, options, SavedSampling(path)) == first, what
    others = target_of(random_patterns(8, 20, np.random.default_rng(7)))
    for of, changed in ((target, replace(options, seed=4)), (target, replace(options, keep=900)), (others, options)):
        path.write_bytes(content)
        assert killed_after(1, of, changed, SavedSampling(path)) == first
    path.write_bytes(content)
    assert_same(sample_trees(target, TAXA, replace(options, threads=1), saved=SavedSampling(path)), whole)


def test_a_fit_that_is_killed_while_it_samples_goes_on_with_its_trees(tmp_path, capfd):
    """Killed twice, in processes of their own, of a sampler that ends when it has what a fit needs."""
    choices = {"trees_from": "mcmc", "trees_seconds": 1e6, "iterations": 20, "threads": 1, "seed": 2}

    def run_killed(command):
        child = os.fork()
        if child == 0:
            reports = [3]

            def progress(event):
                reports[0] -= isinstance(event, McmcReport) and event.generations > 0
                if reports[0] == 0:
                    os._exit(77)

            command(progress)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 77

    place = tmp_path / "eight.vbpi"
    whole = vbpi_mix.fit(EIGHT, out=tmp_path / "whole.vbpi", **choices)
    run_killed(lambda progress: vbpi_mix.fit(EIGHT, out=place, progress=progress, **choices))
    part = place / "before-training.part"
    first = part.read_bytes()
    run_killed(lambda progress: resume(place, progress=progress))
    assert part.read_bytes() != first
    told = []
    again = resume(place, progress=lambda event: told.append(getattr(event, "text", "")))
    assert "the run had not begun to train: going on with its tree sample" in told
    assert not part.exists()
    assert again.consensus() == whole.consensus()
    for name in ("tree_sample.trprobs", "topologies.trprobs", "splits.csv"):
        assert (place / name).read_text() == (tmp_path / "whole.vbpi" / name).read_text()


@pytest.mark.parametrize("reason", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_fit_that_is_interrupted_while_it_samples_goes_on_with_its_trees(tmp_path, reason):
    choices = {"trees_from": "mcmc", "trees_seconds": 1e6, "iterations": 20, "threads": 1, "seed": 2}
    whole = vbpi_mix.fit(EIGHT, out=tmp_path / "whole.vbpi", **choices)
    place, told, generations = tmp_path / "eight.vbpi", [], []

    def stopped(event):
        told.append(getattr(event, "text", ""))
        if isinstance(event, McmcReport) and event.generations > 0:
            generations.append(event.generations)
            if len(generations) == 3:
                raise reason

    with pytest.raises(type(reason)):
        vbpi_mix.fit(EIGHT, out=place, progress=stopped, **choices)
    assert told[-1] == f"what was begun is kept: `vbpi-mix fit --resume {place}` goes on"
    again = resume(place, progress=lambda event: told.append(getattr(event, "text", "")))
    assert "the run had not begun to train: going on with its tree sample" in told
    assert again.consensus() == whole.consensus()
    assert (place / "tree_sample.trprobs").read_text() == (tmp_path / "whole.vbpi" / "tree_sample.trprobs").read_text()


def test_a_fit_that_cannot_be_goes_without_a_trace(tmp_path):
    def refused(event):
        if isinstance(event, McmcReport):
            raise ConfigError("so many components are more than the memory")

    with pytest.raises(ConfigError):
        vbpi_mix.fit(EIGHT, out=tmp_path / "x.vbpi", progress=refused, trees_from="mcmc", threads=1)
    assert not list(tmp_path.iterdir())


def test_a_sampler_goes_on_where_there_is_no_room_for_its_file(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    target = jukes_cantor()
    whole = sample_trees(target, TAXA, OPTIONS)
    monkeypatch.setattr(saved, "write_bytes", full)
    assert_same(sample_trees(target, TAXA, OPTIONS, saved=SavedSampling(tmp_path / "here")), whole)
    assert not list(tmp_path.iterdir())
