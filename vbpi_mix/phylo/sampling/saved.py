"""Where a sampler is, in a file, from which another process goes on as if the first had not been killed.

Saved are the trees of the chains, their random numbers and temperatures, and what was kept; partials are computed anew, to the
same digits. The file is a message (vbpi_mix/messages.py) behind its SHA-256. One that is damaged, or of other data or options, is
as good as none.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from vbpi_mix.files import write_bytes
from vbpi_mix.messages import Message, decode, encode
from vbpi_mix.phylo.sampling.chains import Chains, Kept
from vbpi_mix.phylo.sampling.convergence import Convergence
from vbpi_mix.phylo.sampling.kernels.moves import MODULUS_1

_WORD, _DIGEST = "sampling", 32
# A sampler is saved so often, and not before it has run for so long: what is quickly made is quickly made anew.
SECONDS_BETWEEN = 20.0
# How far log-likelihoods, computed anew, may be from the saved ones: those of other data are further.
_SAME = 1e-6


@dataclasses.dataclass
class Reached:
    """How far a sampler is, beside its chains and what was kept of them: rounds, seconds, the next check, what the last one
    found, the trace of all (McmcResult), and whether it is over."""

    rounds: int
    seconds: float
    check_at: int
    known: Convergence = dataclasses.field(default_factory=Convergence)
    trace: list[tuple[float, ...]] = dataclasses.field(default_factory=list)
    over: bool = False


class SavedSampling:
    """A file with the state of a sampler, or none yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = time.monotonic()

    @property
    def is_there(self) -> bool:
        """Whether there is a file."""
        return self._path.is_file()

    def save_if_due(self, of: str, chains: Chains, kept: Kept, reached: Reached) -> None:
        """Write the file, if the last time was long enough ago; at the end too, unless that came soon. of: what sampler this is.

        Without room for it the file stays as it was: sampling goes on all the same.
        """
        since = time.monotonic() - self._last
        if since >= SECONDS_BETWEEN or (reached.over and reached.seconds >= SECONDS_BETWEEN):
            with suppress(OSError):
                write_bytes(self._path, _content(of, chains, kept, reached))
            self._last = time.monotonic()

    def restore(self, of: str, chains: Chains, kept: Kept) -> Reached | None:
        """How far the sampler was, with chains and kept trees as they were then, which must have been made alike. None if the
        file is of no use, whatever chains are then."""
        message = _message(self._path)
        try:
            return None if message is None else _restore(message, of, chains, kept)
        except (KeyError, TypeError, ValueError):
            return None


def _arrays(chains: Chains, kept: Kept, count: int) -> list[np.ndarray]:
    """What is saved, as views: of every chain its tree, then the state, then the first `count` trees kept of each."""
    trees, state = chains.trees, chains.state
    of_state = [state.focus, state.log_likelihood, state.rng, state.chain_at, state.window, state.counters, state.exchanges]
    return [trees.twin, trees.length, trees.barred, *of_state, *(array[:, :, :count] for array in kept.trees)]


def _content(of: str, chains: Chains, kept: Kept, reached: Reached) -> bytes:
    facts = {
        "of": of, "generations": chains.generations, "count": kept.count, "every": kept.every,
        "reached": dataclasses.asdict(reached),
    }  # fmt: skip
    content = encode(Message(_WORD, facts, tuple(_arrays(chains, kept, kept.count)))).tobytes()
    return hashlib.sha256(content).digest() + content


def _message(path: Path) -> Message | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
        return None
    try:
        return decode(np.frombuffer(content, np.uint8)[_DIGEST:])
    except (ValueError, TypeError):
        return None


def _restore(message: Message, of: str, chains: Chains, kept: Kept) -> Reached | None:
    facts, arrays = message.facts, message.arrays
    count = facts["count"]
    if facts["of"] != of or not 0 <= count <= kept.trees.children.shape[2]:
        return None
    there = _arrays(chains, kept, count)
    if [(array.shape, array.dtype) for array in arrays] != [(array.shape, array.dtype) for array in there]:
        return None
    twin, _, _, focus, log_likelihood, rng, chain_at = arrays[:7]
    whole = _in_range(focus, twin.shape[1]) and _in_range(rng, MODULUS_1) and _are_topologies(arrays[-3])
    if not (whole and np.array_equal(np.sort(chain_at, axis=1), chains.state.chain_at) and all(map(_is_tree, twin))):
        return None
    for array, saved in zip(there, arrays, strict=True):
        array[...] = saved
    if not np.allclose(chains.compute_partials(), log_likelihood, rtol=_SAME, atol=_SAME):
        return None
    chains.state.log_likelihood[:] = log_likelihood
    kept.count, kept.every, chains.generations = count, facts["every"], facts["generations"]
    reached = facts["reached"]
    known, trace = Convergence(**reached["known"]), [tuple(row) for row in reached["trace"]]
    return Reached(**{**reached, "known": known, "trace": trace})


def _in_range(numbers: np.ndarray, end: int) -> bool:
    return bool(((numbers >= 0) & (numbers < end)).all())


def _is_tree(twin: np.ndarray) -> bool:
    """Whether half-edges int64 [4n-6] are joined in pairs (layout: kernels/partials.py), and all nodes hang together."""
    if not _in_range(twin, twin.size) or (twin[twin] != np.arange(twin.size)).any():
        return False
    inner = 3 * ((twin.size + 6) // 4 - 2)
    met, waiting = set[int](), [0]
    while waiting:
        first = waiting.pop()
        if first in met:
            continue
        met.add(first)
        own = range(first, first + 3) if first < inner else (first,)
        for across in twin[list(own)].tolist():
            waiting.append(across - across % 3 if across < inner else across)
    return len(met) == inner // 3 + twin.size - inner


def _are_topologies(children: np.ndarray) -> bool:
    """Whether each of int32 [..., n-2, 2] names every node below the top but taxon 0 once, and lower ones than its own."""
    inner = children.shape[-2]
    flat = np.sort(children.reshape(-1, 2 * inner), axis=1)
    own = np.arange(inner)[:, None] + inner + 2
    return bool((flat == np.arange(1, 2 * inner + 1)).all() and (children < own).all())


def digest_of(options: object) -> str:
    """What sampler this is: its options, plain data."""
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()
