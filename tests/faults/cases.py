"""Commands that meet faults: what each begins with, what it ends with if nothing happens, and how it is taken up again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faulty import COMMAND, EVAL, QUICK, RESUME, contents, hidden, write_problem

TOY = (
    "toy", "--target", "ring", "--approximation", "mixture", "--A", "2", "--K", "2", "--iterations", "4", "--quiet",
    "--out", "toy.vbpi",
)  # fmt: skip
# With QUICK's one thread: others do not survive a fork.
IMAGE = ("image", "digits", "--A", "1", "--latent", "1", "--epochs", "1", "--out", "image.vbpi", *QUICK)
TOY_AGAIN = ("toy", "--resume", "toy.vbpi", "--quiet")
IMAGE_AGAIN = ("image", "digits", "--resume", "image.vbpi", *QUICK)
LONGER = (*RESUME, "--iterations", "14")
FORCE, OTHER = ("--force",), ("--seed", "4")
NOTE = "notes.md"


@dataclass(frozen=True)
class Case:
    """before: commands that come to their end before it. resume: what takes up a run that was cut off; None where the command is
    given once more, with `again`. run: the folder that is trained. keeps: whether it may leave results from which it goes on."""

    command: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    resume: tuple[str, ...] | None = None
    again: tuple[str, ...] = ()
    run: str = "five.vbpi"
    keeps: bool = False


CASES = {
    "fit": Case(COMMAND, resume=RESUME),
    "replace": Case(COMMAND + FORCE, (COMMAND + OTHER,), RESUME),
    "resume": Case(LONGER, (COMMAND,), LONGER),
    "replicates": Case((*COMMAND, "--replicates", "2", "--out", "five.vbpi"), resume=RESUME),
    "eval": Case(EVAL, (COMMAND,)),
    "export": Case(("export", "five.vbpi", "--trees", "5", "--threads", "1"), (COMMAND,), again=FORCE),
    "report": Case(("report", "five.vbpi", "--out", "page.html", "--tree", "tree.svg", "--quiet"), (COMMAND,), again=FORCE),
    "compare": Case(("compare", "five.vbpi", "five.nwk", "--json", "figures.json", "--table", "table.csv", "--draws", "10"),
                    (COMMAND,), again=FORCE),
    "simulate": Case(("simulate", "--taxa", "4", "--sites", "20", "--out", "sim.nex"), again=FORCE),
    "toy": Case(TOY, resume=TOY_AGAIN, run="toy.vbpi"),
    "toy-replace": Case(TOY + FORCE, (TOY + OTHER,), TOY_AGAIN, run="toy.vbpi"),
    "image": Case(IMAGE, resume=IMAGE_AGAIN, run="image.vbpi"),
    "image-replace": Case(IMAGE + FORCE, (IMAGE + OTHER,), IMAGE_AGAIN, run="image.vbpi"),
    "image-eval": Case(("image", "eval", "image.vbpi", "--importance-samples", "2", "--images", "10", *QUICK), (IMAGE,),
                       run="image.vbpi", keeps=True),
}  # fmt: skip


@dataclass
class Undisturbed:
    """A case if nothing happens: the folder that it begins with, what that holds before and after, and how many steps that is."""

    case: Case
    folder: Path
    before: dict[str, Any]
    after: dict[str, Any]
    steps: int

    def put(self, place):
        """A copy of what it begins with."""
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.folder, place)
        return place

    def check_nothing_is_lost(self, folder, taken_up=False):
        """What was there is as it was, or as the command leaves it; a run that is replaced is the old or the whole new one, of
        which what takes it up has perhaps written its results anew, or part of them."""
        found = contents(folder)
        replaced = self.case.command[-1:] == FORCE
        if replaced and (folder / self.case.run).exists():
            old, new, run = (self._of_run(each) for each in (self.before, self.after, found))
            learned = [name for name in new if name.endswith((".pt", "trace.csv", "config.yaml", NOTE))]
            assert run in (old, new) or (taken_up and all(run.get(name) == new[name] for name in learned))
        elif not self.case.resume:
            assert set(self.before) <= set(found)
            assert all(found[name] in (self.before[name], self.after[name]) for name in self.before)

    def is_begun(self, folder):
        """Whether the command has left a run to resume, at its place or beside it."""
        if not self.case.resume:
            return False
        place = folder / self.case.run
        beside = folder / f".{self.case.run}.replacement"
        return beside.exists() or (place.exists() and self._of_run(contents(folder)) != self._of_run(self.before))

    def take_up(self, victim, folder):
        """Resumed, or given again, the command ends as if nothing had happened. Whether there was a run to resume."""
        begun = self.is_begun(folder)
        done = victim(folder, *(self.case.resume if begun else self.case.command + self.case.again))
        assert done["status"] == 0, done["err"]
        self.check_complete(folder)
        return begun

    def check_complete(self, folder):
        """All is as if nothing had happened."""
        found = contents(folder)
        assert set(found) == set(self.after)
        assert [name for name in found if found[name] != self.after[name]] == []
        assert not hidden(folder)

    def _of_run(self, found):
        return {name: each for name, each in found.items() if name.startswith(f"{self.case.run}/")}


@dataclass
class Cases:
    """Every case, undisturbed, once it has been asked for."""

    victim: Callable[..., Any]
    folder: Path
    made: dict[str, Undisturbed] = field(default_factory=dict)

    def __getitem__(self, name):
        if name not in self.made:
            self.made[name] = self._make(CASES[name], self.folder / name / "here")
        return self.made[name]

    def _make(self, case, start):
        start.mkdir(parents=True)
        write_problem(start)
        for command in case.before:
            self.victim.run(start, *command)
            (start / case.run / NOTE).write_text("mine")
        # What is warm finds its kernels in memory.
        warm = shutil.copytree(start, start.parent / "warm")
        self.victim(warm, *case.command, fault="warm")
        end = shutil.copytree(start, start.parent / "end")
        steps = self.victim.run(end, *case.command)
        assert not hidden(end)
        return Undisturbed(case, start, contents(start), contents(end), steps)
