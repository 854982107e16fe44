"""No room on the disk, from any step on, is one line and status 2; what was whole stays whole, and nothing is left.

Nothing can be made any more ("full"), nothing can be written ("small"), or only a part of it ("large"). In every run of the tests
a few steps of each command; `pytest -m slow tests/faults` has all of them.
"""

from __future__ import annotations

import pytest
from cases import CASES
from faulty import contents, hidden

WORDS = {"full": "No space left on device", "small": "File too large", "large": "File too large"}


def check_full_disk(victim, whole, folder, at, fault):
    """Whether the command could not come to its end."""
    whole.put(folder)
    done = victim(folder, *whole.case.command, at=at, fault=fault)
    assert not [name for name in hidden(folder) if name.endswith((".part", ".starting"))]
    whole.check_nothing_is_lost(folder)
    if done["status"] == 0:
        # All that was left to do takes no room.
        whole.check_complete(folder)
        return False
    assert (done["status"], done["out"]) == (2, ""), done
    lines = [line for line in done["err"].splitlines() if line]
    assert len(lines) == 1, done["err"]
    assert lines[0].startswith("error: ")
    assert WORDS[fault] in lines[0]
    if not whole.case.resume and not whole.case.keeps:
        assert contents(folder) == whole.before
    whole.take_up(victim, folder)
    return True


@pytest.mark.parametrize(("part", "fault"), [(0, "full"), (1, "small"), (2, "large"), (3, "full")])
@pytest.mark.parametrize("name", ["fit", "replace", "resume", "toy"])
def test_training_on_a_full_disk_goes_on_when_there_is_room(victim, cases, tmp_path, name, part, fault):
    whole = cases[name]
    check_full_disk(victim, whole, tmp_path / "here", 1 + (whole.steps - 1) * part // 3, fault)


@pytest.mark.parametrize(("name", "fault"), [("image", "large"), ("image", "full")])
def test_training_on_images_does_too(victim, cases, tmp_path, name, fault):
    whole = cases[name]
    assert check_full_disk(victim, whole, tmp_path / "here", whole.steps // 2, fault)


@pytest.mark.parametrize("fault", WORDS)
@pytest.mark.parametrize("name", ["eval", "export", "report", "compare", "simulate"])
def test_what_is_written_at_the_end_is_written_whole_or_not_at_all(victim, cases, tmp_path, name, fault):
    whole = cases[name]
    stopped = check_full_disk(victim, whole, tmp_path / "here", 1 + whole.steps // 2, fault)
    assert stopped or fault == "large"


@pytest.mark.slow
@pytest.mark.parametrize("fault", WORDS)
@pytest.mark.parametrize("name", CASES)
def test_a_full_disk_from_every_step_on(victim, cases, tmp_path, name, fault):
    whole = cases[name]
    stopped = [check_full_disk(victim, whole, tmp_path / "here", at, fault) for at in range(1, whole.steps + 1)]
    print(f"{name}, {fault}: {sum(stopped)} of {whole.steps} steps stop it")
    assert any(stopped) or fault == "large"
