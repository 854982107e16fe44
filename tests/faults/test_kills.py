"""A command that is killed before any of the steps by which it changes files leaves a run that can be resumed, or none.

In every run of the tests a few steps of each command, spread evenly; `pytest -m slow` has 1,000 at random.
"""

from __future__ import annotations

import random
import shutil

import pytest
from faulty import COMMAND, EVAL, RESUME, bounds_of, hidden, learned

SHARE = 4


def step(part, steps):
    """The first of some steps, the last, or one of those between, evenly."""
    return 1 + (steps - 1) * part // (SHARE - 1)


def check_continued(victim, five, finished):
    """After a kill: resumed, or fitted where there is nothing, it is the same run, and nothing hidden is left."""
    there = (five / "five.vbpi").exists() or (five / ".five.vbpi.replacement").exists()
    done = victim(five, *(RESUME if there else COMMAND))
    assert done["status"] == 0, done["err"]
    assert learned(five / "five.vbpi") == finished.learned()
    assert not hidden(five)


@pytest.mark.parametrize("part", range(SHARE))
def test_a_killed_fit_is_resumed_or_absent(victim, five, finished, part):
    assert victim(five, *COMMAND, at=step(part, finished.steps))["status"] == -9
    check_continued(victim, five, finished)


def test_a_fit_that_had_not_begun_to_train_is_resumed_from_any_folder(victim, five, finished):
    at = 1
    while not (five / "five.vbpi").exists():
        at += 1
        assert victim(five, *COMMAND, at=at)["status"] == -9
    (five / "elsewhere").mkdir()
    done = victim(five / "elsewhere", "fit", "--resume", "../five.vbpi", "--threads", 1)
    assert done["status"] == 0, done["err"]
    assert "the run had not begun to train: starting from the beginning" in done["err"]
    assert learned(five / "five.vbpi") == finished.learned()


@pytest.mark.parametrize("part", range(SHARE))
def test_a_killed_replacement_leaves_the_old_run_or_the_new_one(victim, five, finished, part):
    """The old run of another seed stands until the new one has trained; a file of the user's stays."""
    finished.put(4, five)
    (five / "five.vbpi" / "notes.txt").write_text("mine")
    assert finished.learned(4) != finished.learned()
    # As many steps as a fit takes and some more, which remove the old run.
    assert victim(five, *COMMAND, "--force", at=step(part, finished.steps + 4))["status"] == -9
    if (five / "five.vbpi").exists():
        assert learned(five / "five.vbpi") in (finished.learned(4), finished.learned())
    unfinished = (five / ".five.vbpi.replacement").exists() or not (five / "five.vbpi").exists()
    done = victim(five, *(RESUME if unfinished else (*COMMAND, "--force")))
    assert done["status"] == 0, done["err"]
    assert learned(five / "five.vbpi") == finished.learned()
    assert (five / "five.vbpi" / "notes.txt").read_text() == "mine"
    assert not hidden(five)


def test_a_killed_evaluation_leaves_the_run(victim, five, finished):
    finished.put(3, five)
    before = (five / "five.vbpi" / "summary.json").read_text()
    for at in (1, 2):
        assert victim(five, *EVAL, at=at)["status"] == -9
        assert (five / "five.vbpi" / "summary.json").read_text() == before
    assert victim(five, *EVAL)["status"] == 0
    assert learned(five / "five.vbpi") == finished.learned()
    assert not hidden(five)


@pytest.mark.parametrize("part", range(1, SHARE))
def test_a_killed_toy_is_resumed(victim, tmp_path, part):
    command = ("toy", "--target", "ring", "--approximation", "mixture", "--A", 2, "--K", 2, "--iterations", 4, "--quiet")
    whole = victim(tmp_path, *command, "--out", "whole.vbpi")
    assert whole["status"] == 0, whole["err"]
    assert victim(tmp_path, *command, "--out", "cut.vbpi", at=step(part, whole["steps"]))["status"] == -9
    there = (tmp_path / "cut.vbpi").exists()
    again = victim(tmp_path, *(("toy", "--resume", "cut.vbpi", "--quiet") if there else (*command, "--out", "cut.vbpi")))
    assert again["status"] == 0, again["err"]
    assert bounds_of(tmp_path / "cut.vbpi") == bounds_of(tmp_path / "whole.vbpi")
    assert (tmp_path / "cut.vbpi" / "curves.csv").exists()
    assert not hidden(tmp_path)


@pytest.mark.slow
def test_a_killed_training_on_images_is_resumed(victim, tmp_path):
    """At every step, one after the other."""
    command = ("image", "digits", "--A", 1, "--latent", 1, "--epochs", 1, "--quiet")
    whole = victim(tmp_path, *command, "--out", "whole.vbpi")
    assert whole["status"] == 0, whole["err"]
    expected = bounds_of(tmp_path / "whole.vbpi")
    for at in range(1, whole["steps"] + 1):
        assert victim(tmp_path, *command, "--out", "cut.vbpi", at=at)["status"] == -9
        there = (tmp_path / "cut.vbpi").exists()
        again = victim(
            tmp_path, *(("image", "digits", "--resume", "cut.vbpi", "--quiet") if there else (*command, "--out", "cut.vbpi"))
        )
        assert again["status"] == 0, again["err"]
        assert bounds_of(tmp_path / "cut.vbpi") == expected
        assert not hidden(tmp_path)
        shutil.rmtree(tmp_path / "cut.vbpi")


@pytest.mark.slow
def test_a_thousand_kills_at_random(victim, five, finished):
    """Fits, replacements and resumed runs, killed before a step at random, some of them again while they are resumed."""
    chance = random.Random(1)
    resumed = absent = 0
    for _ in range(1000):
        shutil.rmtree(five / "five.vbpi", ignore_errors=True)
        forced = chance.random() < 0.3
        if forced:
            finished.put(4, five)
        victim(five, *COMMAND, *(["--force"] if forced else []), at=chance.randint(1, finished.steps + 4 * forced))
        while chance.random() < 0.3:
            victim(five, *RESUME, at=chance.randint(1, finished.steps))
        unfinished = (five / ".five.vbpi.replacement").exists()
        if forced and not unfinished and (five / "five.vbpi").exists() and learned(five / "five.vbpi") == finished.learned(4):
            assert victim(five, *COMMAND, "--force")["status"] == 0
        there = (five / "five.vbpi").exists() or unfinished
        resumed, absent = resumed + there, absent + (not there)
        check_continued(victim, five, finished)
    print(f"{resumed} resumed, {absent} absent")
