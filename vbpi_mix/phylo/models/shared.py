"""Likelihoods of many trees, of which other processes evaluate a share each (vbpi_mix/followers.py).

They are told of a posterior once, under a number, and are then sent trees. A tree's likelihood is the same wherever it is
evaluated, and with whatever others. On another device than the processor (device.py) the first process evaluates all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np

from vbpi_mix.followers import followers
from vbpi_mix.messages import Message
from vbpi_mix.phylo.models.characters import CharacterModel
from vbpi_mix.phylo.models.jukes_cantor import JukesCantor
from vbpi_mix.phylo.models.substitution import Likelihoods

LIKELIHOODS = "likelihoods"
# Taxa times patterns times trees (Posterior.work): what takes about three milliseconds. Less is not worth a message.
LEAST_WORK = 1_000_000.0
THETA = "theta"

Arrays = tuple[np.ndarray, ...]


class SharedJukesCantor(JukesCantor):
    """JC69 on patterns that other processes know by a number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    @property
    def shared_as(self) -> int:
        """The number."""
        return self._number

    def log_likelihoods(self, children: np.ndarray, lengths: np.ndarray, packed: Any) -> np.ndarray:
        """Log-likelihoods [T]."""

        def own(children: np.ndarray, lengths: np.ndarray) -> Arrays:
            return (super(SharedJukesCantor, self).log_likelihoods(children, lengths, packed),)

        return _in_shares(self._number, False, self._cost(packed), own, [children, lengths])[0]

    def evaluate(self, children: np.ndarray, lengths: np.ndarray, packed: Any) -> Likelihoods:
        """Log-likelihoods and derivatives."""

        def own(children: np.ndarray, lengths: np.ndarray) -> Arrays:
            return arrays_of(super(SharedJukesCantor, self).evaluate(children, lengths, packed))

        return likelihoods_of(_in_shares(self._number, True, self._cost(packed), own, [children, lengths]))

    def _cost(self, packed: Any) -> float:
        """Of a tree; none, so that it is not shared, on another device."""
        return float(packed.n_taxa * self.work_of(packed)) if self.device == "cpu" else 0.0


class SharedCharacters(CharacterModel):
    """A model of characters that other processes know by a number."""

    def __init__(self, number: int, *arguments: Any) -> None:
        """arguments: of CharacterModel."""
        super().__init__(*arguments)
        self.shared_as = number

    def to(self, device: str) -> None:
        """As CharacterModel."""
        super().to(device)
        self._device = device

    def log_likelihoods(self, children: np.ndarray, lengths: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """[T]."""

        def own(children: np.ndarray, lengths: np.ndarray, theta: np.ndarray) -> Arrays:
            return (super(SharedCharacters, self).log_likelihoods(children, lengths, theta),)

        return self._shared(False, own, [children, lengths, theta])[0]

    def evaluate(
        self, children: np.ndarray, lengths: np.ndarray, theta: np.ndarray, parameters: bool = True
    ) -> Likelihoods:
        """The same with derivatives."""

        def own(children: np.ndarray, lengths: np.ndarray, theta: np.ndarray) -> Arrays:
            return arrays_of(super(SharedCharacters, self).evaluate(children, lengths, theta, parameters))

        return likelihoods_of(self._shared(True, own, [children, lengths, theta], parameters=parameters))

    def _shared(self, slopes: bool, own: Callable[..., Arrays], rows: list[np.ndarray], **facts: Any) -> Arrays:
        assert self.shared_as is not None
        cost = rows[0].shape[1] * self.work if self._device == "cpu" else 0.0
        return _in_shares(self.shared_as, slopes, cost, own, rows, **facts)


def _in_shares(
    number: int, slopes: bool, cost: float, own: Callable[..., Arrays], rows: Sequence[np.ndarray], **facts: Any
) -> Arrays:
    """Arrays of which each has a row for each tree: from `own` given the rows of all arrays, with the other processes' help
    where it is worth it. An array with one row, theta, is for all trees. cost: of a tree; 0 if it is not to be shared.
    """
    team, trees = followers(), rows[0].shape[0]
    if team is None:
        return own(*rows)
    if trees < 2 or cost == 0.0 or trees * cost < LEAST_WORK:
        team.keep_in_touch()
        return own(*rows)
    shares = team.shares(trees)
    facts |= {"number": number, "slopes": slopes, "threads": numba.get_num_threads()}
    answers = team.ask({
        rank: Message(LIKELIHOODS, facts, _cut(rows, share))
        for rank, share in enumerate(shares)
        if rank > 0 and share.stop > share.start
    })  # fmt: skip
    found = [own(*_cut(rows, shares[0]))] if shares[0].stop > 0 else []
    found += [answer.arrays for answer in answers()]
    return tuple(np.concatenate(each) for each in zip(*found, strict=True))


def _cut(rows: Sequence[np.ndarray], share: slice) -> Arrays:
    return tuple(array[share] if array.shape[0] == rows[0].shape[0] else array for array in rows)


def arrays_of(found: Likelihoods) -> Arrays:
    """Values, slopes in the lengths and, where there are any, in theta."""
    return (found.values, found.length_slopes, *found.parameter_slopes.values())


def likelihoods_of(arrays: Arrays) -> Likelihoods:
    """What `arrays_of` has taken apart."""
    return Likelihoods(arrays[0], arrays[1], dict(zip((THETA,), arrays[2:], strict=False)))
