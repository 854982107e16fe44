"""A command that is killed before any of the steps by which it changes files loses nothing, and is resumed or given again.

In every run of the tests a few steps of each command, spread evenly; `pytest -m slow tests/faults` has all of them, and KILLS
(1,000) at random by KILLS_SEED.
"""

from __future__ import annotations

import collections
import os
import random
import time

import pytest
from cases import CASES, NOTE
from faulty import contents

SHARE = 3
KILLED = -9


def step(part, steps):
    """The first of some steps, the last, or one of those between, evenly."""
    return 1 + (steps - 1) * part // (SHARE - 1)


def kill(victim, folder, whole, at):
    assert victim(folder, *whole.case.command, at=at)["status"] == KILLED
    whole.check_nothing_is_lost(folder)


# The others are begun and replaced by the same code; all are among the slow tests.
OFTEN = ("fit", "replace", "resume", "eval", "export", "toy", "image")


@pytest.mark.parametrize("part", range(SHARE))
@pytest.mark.parametrize("name", OFTEN)
def test_a_killed_command_is_resumed_or_given_again(victim, cases, tmp_path, name, part):
    whole, folder = cases[name], tmp_path / "here"
    whole.put(folder)
    kill(victim, folder, whole, step(part, whole.steps))
    whole.take_up(victim, folder)


def test_a_fit_that_had_not_begun_to_train_is_resumed_from_any_folder(victim, cases, tmp_path):
    whole, folder, at = cases["fit"], tmp_path / "here", 1
    whole.put(folder)
    while not whole.is_begun(folder):
        at += 1
        kill(victim, folder, whole, at)
    (folder / "elsewhere").mkdir()
    done = victim(folder / "elsewhere", "fit", "--resume", "../five.vbpi", "--threads", 1)
    assert done["status"] == 0, done["err"]
    assert "the run had not begun to train: starting from the beginning" in done["err"]
    # Its config.yaml names the alignment by the way from there.
    found = contents(folder)
    for name in ("consensus.nwk", "splits.csv", "topologies.trprobs", "trace.csv", "summary.json"):
        assert found[f"five.vbpi/{name}"] == whole.after[f"five.vbpi/{name}"]
    assert found["five.vbpi/checkpoint.pt"]["problem"] == whole.after["five.vbpi/checkpoint.pt"]["problem"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_kill_at_every_step(victim, cases, tmp_path, name):
    whole, folder = cases[name], tmp_path / "here"
    begun = 0
    for at in range(1, whole.steps + 1):
        whole.put(folder)
        kill(victim, folder, whole, at)
        begun += whole.take_up(victim, folder)
    assert 0 < begun < whole.steps or not whole.case.resume


def kill_at_random(victim, folder, whole, chance):
    """Kill a command, and sometimes what takes it up, again and again; the kills and how it was taken up at last."""
    whole.put(folder)
    kill(victim, folder, whole, chance.randint(1, whole.steps))
    kills = 1
    while chance.random() < 0.3:
        begun = whole.is_begun(folder)
        command = whole.case.resume if begun else whole.case.command + whole.case.again
        kills += victim(folder, *command, at=chance.randint(1, whole.steps))["status"] == KILLED
        whole.check_nothing_is_lost(folder, taken_up=begun)
    return kills, "resumed" if whole.take_up(victim, folder) else "given again"


@pytest.mark.slow
def test_kills_at_random(victim, cases, tmp_path):
    """Of any command, some of them again and again while they are taken up."""
    wanted, seed = int(os.environ.get("KILLS", "1000")), int(os.environ.get("KILLS_SEED", "1"))
    chance, started, kills = random.Random(seed), time.perf_counter(), 0
    ended, lost = collections.Counter(), []
    names = [name for name in CASES for _ in range(6 if name in ("fit", "replace", "resume") else 1)]
    while kills < wanted:
        name = chance.choice(names)
        try:
            more, how = kill_at_random(victim, tmp_path / "here", cases[name], chance)
        except AssertionError as error:
            more, how = 1, "lost"
            lost.append(f"{name}, after {kills} kills: {error}")
        kills += more
        ended[name, how] += 1
        if sum(ended.values()) % 50 == 0:
            print(f"{kills} kills, {time.perf_counter() - started:.0f} s: {dict(ended)}", *lost, sep="\n", flush=True)
    for (name, how), count in sorted(ended.items()):
        print(f"{name}: {count} {how}")
    print(f"{kills} kills of {sum(ended.values())} commands, {len(lost)} lost, {time.perf_counter() - started:.0f} s")
    assert not lost, "\n".join(lost)


def test_a_file_of_the_user_is_in_a_run_that_is_replaced(cases):
    """The cases do hold what they are to hold."""
    assert f"five.vbpi/{NOTE}" in cases["replace"].after
    assert cases["replace"].before["five.vbpi/checkpoint.pt"] != cases["replace"].after["five.vbpi/checkpoint.pt"]
    assert cases["fit"].after["five.vbpi/checkpoint.pt"] == cases["replace"].after["five.vbpi/checkpoint.pt"]
