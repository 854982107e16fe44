"""The number of threads follows the times that pieces of work take, on machines that are made up here."""

from __future__ import annotations

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from vbpi_mix import accelerate, threads
from vbpi_mix.threads import ThreadChoice, chosen_threads, timed_pieces

STEP = 0.0004


def test_torch_keeps_its_number_when_numba_starts():
    """Where both use one OpenMP library numba's first call sets that of torch, and gradients would be rounded otherwise."""
    lines = (
        "import numba, torch", "from vbpi_mix.training.provenance import use_threads", "use_threads(2, torch_threads=1)",
        "numba.get_num_threads()", "assert torch.get_num_threads() == 1",
    )  # fmt: skip
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    environment.pop("OMP_NUM_THREADS", None)
    subprocess.run([sys.executable, "-c", "\n".join(lines)], env=environment, check=True)


def test_images_train_with_the_threads_asked_for(tmp_path):
    """As above: with the two threads of a machine of two, training took ten times as long beside other programs."""
    lines = (
        "import numba, torch", "from vbpi_mix.image.config import FitConfig", "from vbpi_mix.image.fit import fit",
        "from vbpi_mix.training.trainer import Trainer",
        "Trainer.run = lambda self: (numba.get_num_threads(), print(torch.get_num_threads()), 1 / 0)",
        "fit(FitConfig('digits', A=1, epochs=1, threads=1), 'run.vbpi')",
    )  # fmt: skip
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    environment.pop("OMP_NUM_THREADS", None)
    how = {"env": environment, "cwd": tmp_path, "capture_output": True, "text": True, "check": False}
    assert subprocess.run([sys.executable, "-c", "\n".join(lines)], **how).stdout.split() == ["1"]


def work(machine, most, seconds, first_wait=0.3):
    """The choice after so many seconds of the made-up machine's time, and how many pieces it did.

    machine(threads, now): seconds of a piece.
    """
    now, pieces = 0.0, 0
    choice = ThreadChoice(most, lambda threads: None, first_wait)
    while now < seconds:
        spent = machine(choice.threads, now)
        now += spent
        pieces += 1
        choice.observe(spent)
    return choice, pieces


def test_threads_that_hurt_cost_less_than_a_twentieth():
    choice, pieces = work(lambda threads, now: STEP if threads == 1 else 20 * STEP, 2, 60.0)
    assert choice.threads == 1
    assert 0.95 * 60.0 / STEP < pieces <= 60.0 / STEP
    assert choice.counts[2] > 20  # they were tried, and more than once


def test_threads_that_help_are_taken_and_kept():
    choice, pieces = work(lambda threads, now: STEP / threads**0.8, 2, 60.0)
    assert choice.threads == 2
    assert pieces > 0.95 * 60.0 / (STEP / 2**0.8)


def test_more_threads_are_tried_as_long_as_they_help():
    choice, _ = work(lambda threads, now: STEP / min(threads, 4) + 1e-5 * threads, 12, 60.0)
    assert choice.threads == 4
    assert set(choice.counts) == {1, 2, 4, 8}
    assert work(lambda threads, now: STEP / threads, 6, 20.0)[0].threads == 6


def test_a_program_that_comes_and_goes_is_noticed():
    """Alone for 20 s, beside a busy program for 20 s, and alone again."""

    def machine(threads, now):
        busy = 20.0 < now < 40.0
        return STEP if threads == 1 else (20 * STEP if busy else STEP / 2)

    _, pieces = work(machine, 2, 60.0)
    assert pieces > 0.9 * (20.0 / STEP + 40.0 / (STEP / 2))


@pytest.mark.parametrize("factor", [0.6, 3.0])
def test_noise_does_not_hide_what_is_faster(factor):
    noise = np.random.default_rng(1)

    def machine(threads, now):
        return (STEP if threads == 1 else factor * STEP) * noise.gamma(2.0, 0.5)

    _, pieces = work(machine, 2, 60.0)
    assert pieces > 0.93 * 60.0 / (min(1.0, factor) * STEP)


def test_slow_pieces_are_tried_singly():
    """Pieces of a second, three times slower with two threads."""
    _, pieces = work(lambda threads, now: 1.0 if threads == 1 else 3.0, 2, 600.0)
    assert pieces > 0.95 * 600.0


def test_what_a_change_itself_takes_is_no_reason_against_it():
    """The first piece with two threads waits for a compiler."""
    seen = set()

    def machine(threads, now):
        first = threads not in seen
        seen.add(threads)
        return (5.0 if first else 0.0) + STEP / threads

    assert work(machine, 2, 20.0)[0].threads == 2


def test_short_work_is_done_with_one_thread():
    choice, _ = work(lambda threads, now: 0.01 / threads, 2, 2.5, first_wait=3.0)
    assert set(choice.counts) == {1}


@pytest.mark.parametrize(("total", "tried_after"), [(5.0, None), (9.0, None), (30.0, 0.3), (None, 6.0)])
def test_a_trial_that_compiles_is_made_where_it_may_save_as_much(total, tried_after):
    """Two threads take half the time, so that half of what is left may be saved; where nobody knows, when as much is done."""
    now, tried = 0.0, None
    choice = ThreadChoice(2, lambda threads: None, first_cost=6.0, left=lambda: None if total is None else (total - now) / STEP)
    while tried is None and now < (total or 30.0):
        choice.observe(STEP if now % 0.1 > 0.05 else 3 * STEP)  # every other trial waits for another program
        now += STEP
        tried = now if choice.threads == 2 else None
    assert tried == pytest.approx(tried_after, abs=1.2) if tried_after else tried is None


def test_compiled_forms_are_found_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(accelerate, "_IS_CACHED", True)
    monkeypatch.setattr(accelerate._numba_config, "CACHE_DIR", str(tmp_path))
    kept = tmp_path / "kernels_1"
    kept.mkdir()
    (kept / "draw.draw_tree-93.py311.nbi").touch()
    (kept / "jukes_cantor.log_likelihood_in_parallel-287.py311.nbi").touch()
    assert not accelerate.is_kept(threads.TRIED)
    (kept / "particles.draw_topologies_in_parallel-79.py311.nbi").touch()
    assert accelerate.is_kept(threads.TRIED)


def test_one_thread_leaves_nothing_to_choose():
    applied = []
    choice = ThreadChoice(1, applied.append)
    for _ in range(100):
        choice.observe(0.1)
    assert applied == [1]
    assert choice.counts == {1: 100}


def test_the_number_in_force_is_so_again_afterwards(monkeypatch):
    monkeypatch.setattr(threads, "_KEPT", {})
    before = numba.get_num_threads()
    with chosen_threads() as choice:
        assert numba.get_num_threads() == choice.threads == 1
    assert numba.get_num_threads() == before
    with timed_pieces() as pieces:
        pieces.ended()
        assert numba.get_num_threads() == 1
    assert numba.get_num_threads() == before


def test_a_choice_begins_with_what_the_one_before_kept(monkeypatch):
    monkeypatch.setattr(threads, "_KEPT", {})
    monkeypatch.setattr(threads, "set_threads", lambda number: None)
    monkeypatch.setattr(numba, "get_num_threads", lambda: 2)
    with chosen_threads(0.0) as choice:
        for _ in range(100):
            choice.observe(0.1 / choice.threads)
    with chosen_threads() as choice:
        assert choice.threads == choice.kept == 2
