"""Chains of a sampler of which every process (vbpi_mix/followers.py) advances some runs.

All processes have all chains, begun alike from the same seed; each advances its own runs, and the first one is told of what
they kept, of their log-likelihoods, of what was accepted and of exchanges. Runs do not look at one another.
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from vbpi_mix.followers import Followers, followers
from vbpi_mix.messages import Message
from vbpi_mix.phylo.models.joint import HeldModel
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.sampling.chains import Chains, Kept, StartTrees

CHAINS, ADVANCE, WHERE = "chains", "advance", "where"


def make_chains(
    target: Posterior,
    runs: int,
    temperatures: int,
    heating: float,
    regraft_share: float,
    steps: int,
    seed: int,
    starts: StartTrees | None = None,
) -> Chains:
    """Chains, arguments as of Chains, whose runs all processes share out that know the target."""
    team, number = followers(), target.model.shared_as
    numbers = runs, temperatures, heating, regraft_share, steps, seed
    if team is None or number is None or runs < 2:
        return Chains(target, *numbers, starts)
    theta = target.model.theta[0] if isinstance(target.model, HeldModel) else np.zeros(0)
    trees = () if starts is None else (starts.children, starts.lengths)
    team.tell(Message(CHAINS, {"number": number, "numbers": numbers}, (theta, *trees)))
    return SharedChains(team, target, *numbers, starts)


class SharedChains(Chains):
    """As the first process has them. The trees of chains of other processes stay where they began."""

    def __init__(self, team: Followers, *arguments: Any) -> None:
        """arguments: of Chains."""
        super().__init__(*arguments)
        self._team = team
        self.own_runs = range(*self._shares[0].indices(self.state.chain_at.shape[0]))

    def advance(self, rounds: int, kept: Kept, pool: Executor, keep: bool = True) -> None:
        """As Chains, each process its own runs."""
        facts = {
            "rounds": rounds, "every": kept.every, "keep": keep, "regraft_share": self.regraft_share,
            "local_share": self.local_share, "passing": self.passing,
        }  # fmt: skip
        answers = self._ask(ADVANCE, facts, (self.state.beta, self.state.window))
        slot = kept.count
        super().advance(rounds, kept, pool, keep)
        for runs, answer in answers():
            log_likelihood, chain_at, counters, exchanges, *trees = answer.arrays
            self.state.log_likelihood[self._chains_of(runs)] = log_likelihood
            self.state.chain_at[runs] = chain_at
            self.state.counters[runs] += counters
            self.state.exchanges[runs] += exchanges
            for array, new in zip(kept.trees, trees, strict=True):
                array[runs, :, slot : kept.count] = new

    def trees_now(self) -> StartTrees:
        """As Chains."""
        answers = self._ask(WHERE, {}, ())
        now = super().trees_now()
        for runs, answer in answers():
            now.children[runs], now.lengths[runs] = answer.arrays
        return now

    @property
    def _shares(self) -> list[slice]:
        # The first process has the larger share, which needs no messages.
        runs = self.state.chain_at.shape[0]
        return [slice(runs - share.stop, runs - share.start) for share in reversed(self._team.shares(runs))]

    def _chains_of(self, runs: slice) -> slice:
        temperatures = self.state.beta.size
        return slice(runs.start * temperatures, runs.stop * temperatures)

    def _ask(self, word: str, facts: dict[str, Any], arrays: tuple[np.ndarray, ...]) -> Any:
        """Ask the others of their runs; what is returned waits for pairs of runs and answers."""
        shares = {rank: share for rank, share in enumerate(self._shares) if rank and share.stop > share.start}
        answers = self._team.ask({
            rank: Message(word, {**facts, "runs": [share.start, share.stop]}, arrays) for rank, share in shares.items()
        })  # fmt: skip
        return lambda: zip(shares.values(), answers(), strict=True)


class ChainsOfFollower:
    """The chains of which the first process told last, and what it asks of them."""

    def __init__(self) -> None:
        self._chains: Chains | None = None

    def begin(self, message: Message, posterior: Posterior) -> None:
        """Make the chains anew."""
        theta, *trees = message.arrays
        target = posterior.at(theta if theta.size else None)
        arguments: list[Any] = [target, *message.facts["numbers"], StartTrees(*trees) if trees else None]
        self._chains = Chains(*arguments)

    def advance(self, message: Message) -> Message:
        """Advance the runs that are asked for, and tell of them."""
        chains, facts = self._of(message), message.facts
        state, runs = chains.state, slice(*facts["runs"])
        state.beta[:], state.window[:] = message.arrays
        state.counters[:], state.exchanges[:] = 0, 0
        chains.regraft_share, chains.local_share, chains.passing = (
            facts[name] for name in ("regraft_share", "local_share", "passing")
        )
        kept = Kept(chains, facts["rounds"] // facts["every"] + 2)
        kept.every = facts["every"]
        with ThreadPoolExecutor(max(1, min(len(chains.own_runs), int(numba.get_num_threads())))) as pool:
            chains.advance(facts["rounds"], kept, pool, facts["keep"])
        own = slice(runs.start * state.beta.size, runs.stop * state.beta.size)
        trees = tuple(array[runs, :, : kept.count] for array in kept.trees)
        found = state.log_likelihood[own], state.chain_at[runs], state.counters[runs], state.exchanges[runs]
        return Message(ADVANCE, {}, (*found, *trees))

    def where(self, message: Message) -> Message:
        """Where the coldest chains of the runs are."""
        now, runs = self._of(message).trees_now(), slice(*message.facts["runs"])
        return Message(WHERE, {}, (now.children[runs], now.lengths[runs]))

    def _of(self, message: Message) -> Chains:
        assert self._chains is not None
        self._chains.own_runs = range(*message.facts["runs"])
        return self._chains
