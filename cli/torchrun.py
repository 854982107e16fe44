"""Commands under torchrun: the process group that its variables ask for, and what one process does for all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from vbpi_mix.errors import ConfigError, VbpiMixError
from vbpi_mix.parallel import from_first_rank, ranks
from vbpi_mix.training.provenance import available_cores


@contextmanager
def process_group(device: str) -> Iterator[bool]:
    """The process group that torchrun asks for, if it does; yields whether this process is the first, or the only one.

    ConfigError if the variables that torchrun sets are incomplete, or there are fewer GPUs than processes.
    """
    rank, n_ranks = place_among_ranks()
    if n_ranks == 1:
        yield True
        return
    _variable("MASTER_PORT", None)
    if "MASTER_ADDR" not in os.environ:
        raise _no_torchrun("MASTER_ADDR is missing")
    if device == "cuda":
        local = _variable("LOCAL_RANK", None)
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"process {local + 1} on this machine finds no GPU of its own: there are {torch.cuda.device_count()}; "
                "start as many with --nproc-per-node"
            )
        torch.cuda.set_device(local)
    try:
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"the processes that torchrun started cannot meet: {reason}") from error
    try:
        yield rank == 0
    finally:
        dist.destroy_process_group()


def place_among_ranks() -> tuple[int, int]:
    """This process's rank, and how many processes torchrun has started: (0, 1) without it. ConfigError as `process_group`."""
    size = _variable("WORLD_SIZE", 1, at_least=1)
    return (0 if size == 1 else _variable("RANK", None, below=size)), size


def on_first_rank(check: Callable[[], None]) -> None:
    """Check what one process is to check; all others end with it, in silence, if it raises one of our errors."""
    found: VbpiMixError | None = None
    if ranks()[0] == 0:
        try:
            check()
        except VbpiMixError as error:
            found = error
    (failed,) = from_first_rank([float(found is not None)])
    if found is not None:
        raise found
    if failed:
        sys.exit(2)


def default_threads() -> int:
    """The cores of this process, shared with the others that torchrun has started on this machine."""
    return max(1, available_cores() // _variable("LOCAL_WORLD_SIZE", 1, at_least=1))


def check_one_process(what: str) -> None:
    """ConfigError if torchrun has started several."""
    if _variable("WORLD_SIZE", 1, at_least=1) > 1:
        raise ConfigError(f"{what} is for one process: start it without torchrun")


def _variable(name: str, default: int | None, *, at_least: int = 0, below: int | None = None) -> int:
    """A whole number that torchrun has set. ConfigError if it is not one, out of range, or missing without a default."""
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    if text is None:
        raise _no_torchrun(f"{name} is missing")
    if not text.isascii() or not text.isdigit() or int(text) < at_least or (below is not None and int(text) >= below):
        raise _no_torchrun(f"{name}={text} makes no sense")
    return int(text)


def _no_torchrun(reason: str) -> ConfigError:
    return ConfigError(f"{reason} among the variables of torchrun: start with torchrun, or unset WORLD_SIZE for one process")
