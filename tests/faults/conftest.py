"""A victim for all modules of this folder, the commands that it runs, and a run that nothing disturbed."""

from __future__ import annotations

import pytest
from cases import Cases
from faulty import Victim


@pytest.fixture(scope="session")
def victim():
    made = Victim()
    yield made
    made.process.stdin.close()
    made.process.wait()
    made.process.stdout.close()


@pytest.fixture(scope="session")
def cases(victim, tmp_path_factory):
    return Cases(victim, tmp_path_factory.mktemp("cases"))
