"""Commands under torchrun: of trees, the first process does the work, and the others do what it asks."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vbpi_mix.errors import ProcessesError
from vbpi_mix_cli.torchrun import default_threads, place_among_ranks, process_group

if TYPE_CHECKING:
    from vbpi_mix.messages import Channel

# Commands that share out their work here, and those that do it themselves or say that they cannot. Every other command is run
# by the first process alone.
SHARED, ON_THEIR_OWN = ("fit", "eval", "support", "models"), ("image", "cells")
_HELLO = "hello"


def run_among_others(arguments: list[str], run: Callable[[], Any]) -> Any:
    """Run a command in one of the processes of torchrun; what `run` returns, None in processes that have no part in it.

    SystemExit in those that have followed the first one to its end. ConfigError as process_group; ProcessesError if the
    processes run different versions, or one has ended.
    """
    command = next((word for word in arguments if not word.startswith("-")), "")
    if command in ON_THEIR_OWN:
        return run()
    rank, size = place_among_ranks()
    if size == 1:
        return run()
    if command not in SHARED:
        return run() if rank == 0 else None
    # Before numba is loaded: what a process may use of a machine that it shares with others.
    os.environ.setdefault("NUMBA_NUM_THREADS", str(default_threads()))
    with process_group("cpu"):
        return _lead(size, run) if rank == 0 else _follow(rank)


def _lead(size: int, run: Callable[[], Any]) -> Any:
    from vbpi_mix.followers import Followers, leading

    channel = _meet()
    team, status = Followers(channel, size), 2
    try:
        _check_alike([team.greeting(rank).facts for rank in range(1, size)])
        with leading(team):
            found = run()
        status = found if isinstance(found, int) else 0
        return found
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 2
        raise
    except (KeyboardInterrupt, click.exceptions.Abort):
        # Perhaps in the middle of a message: what the others do not hear, they see.
        status = -1
        raise
    finally:
        if status >= 0:
            team.end(status)
        channel.close()


def _follow(rank: int) -> None:
    from vbpi_mix.followers import follow
    from vbpi_mix.messages import Message
    from vbpi_mix.phylo.follower import TreeFollower

    # Who ends the job tells the first process, which still needs the others to end well.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    channel = _meet()
    try:
        status = follow(channel, Message(_HELLO, _facts()), TreeFollower().answers)
    except ProcessesError:
        # One line is enough.
        if rank == 1:
            raise
        status = 2
    sys.exit(status)


def _meet() -> Channel:
    """Connections between the first process and the others. ProcessesError if they cannot meet."""
    from vbpi_mix.messages import meet

    try:
        return meet()
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ProcessesError(f"the processes that torchrun started cannot meet: {reason}") from error


def _facts() -> dict[str, str]:
    """What must be the same in all processes for their numbers to be the same; and the kind of processor."""
    import llvmlite.binding as llvm

    from vbpi_mix.training.provenance import versions

    return {**versions(), "code": _code(), "processor": llvm.get_host_cpu_name()}


def _code() -> str:
    """Digest of the source."""
    digest = hashlib.sha256()
    for package in ("vbpi_mix", "vbpi_mix_cli"):
        spec = find_spec(package)
        assert spec is not None
        for place in spec.submodule_search_locations or ():
            for source in sorted(Path(place).rglob("*.py")):
                digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def _check_alike(others: list[Mapping[str, str]]) -> None:
    """ProcessesError unless the others run what this process runs; a warning if on other processors."""
    own = _facts()
    processor = own.pop("processor")
    for rank, facts in enumerate(others, 1):
        for name, version in own.items():
            if facts.get(name) != version:
                raise ProcessesError(
                    f"process {rank + 1} of {len(others) + 1} runs {name} {facts.get(name)}, the first {name} {version}: install "
                    "the same on all machines"
                )
    kinds = sorted({processor, *(facts["processor"] for facts in others)})
    if len(kinds) > 1:
        click.echo(f"warning: the processors differ ({', '.join(kinds)}), and so may the last digits of results", err=True)
