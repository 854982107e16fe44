"""No room on the disk, from any step on, is one line and status 2; what was whole stays whole."""

from __future__ import annotations

import pytest
from faulty import COMMAND, EVAL, RESUME, hidden, learned

SHARE = 3
COMMANDS = {
    "eval": EVAL,
    "export": ("export", "five.vbpi", "--trees", 5, "--threads", 1),
    "report": ("report", "five.vbpi", "--out", "page.html", "--quiet"),
    "simulate": ("simulate", "--taxa", 4, "--sites", 20, "--out", "sim.nex"),
    "compare": ("compare", "five.vbpi", "five.nwk", "--json", "figures.json", "--draws", 10),
    "resume": (*RESUME, "--iterations", 8),
}


def check_one_line(done, words="No space left on device"):
    assert done["status"] == 2, done
    assert done["out"] == ""
    lines = [line for line in done["err"].splitlines() if line]
    assert len(lines) == 1, done["err"]
    assert lines[0].startswith("error: ")
    assert words in lines[0]


@pytest.mark.parametrize("part", range(SHARE))
def test_a_fit_on_a_full_disk_can_go_on_when_there_is_room(victim, five, finished, part):
    # The last step renames: it takes no room.
    at = 1 + (finished.steps - 3) * part // (SHARE - 1)
    check_one_line(victim(five, *COMMAND, at=at, fault="full"))
    assert not [name for name in hidden(five) if name.endswith(".part")]
    again = victim(five, *(RESUME if (five / "five.vbpi").exists() else COMMAND))
    assert again["status"] == 0, again["err"]
    assert learned(five / "five.vbpi") == finished.learned()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_leaves_everything_as_it_was(victim, five, finished, name):
    finished.put(3, five)
    names = {path.relative_to(five) for path in five.rglob("*")}
    check_one_line(victim(five, *COMMANDS[name], at=1, fault="full"))
    assert {path.relative_to(five) for path in five.rglob("*")} == names
    assert learned(five / "five.vbpi") == finished.learned()
