"""What a follower (vbpi_mix/followers.py) knows of trees: posteriors and chains, of which the first process has told it."""

from __future__ import annotations

from collections.abc import Mapping

import numba

from vbpi_mix.accelerate import set_threads
from vbpi_mix.followers import Answer
from vbpi_mix.messages import Message
from vbpi_mix.phylo.models.joint import HeldModel
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.shared import LIKELIHOODS, arrays_of
from vbpi_mix.phylo.sampling.shared_chains import ADVANCE, CHAINS, WHERE, ChainsOfFollower
from vbpi_mix.phylo.shared_posterior import POSTERIOR, posterior_told


class TreeFollower:
    """Answers what is asked of likelihoods and chains."""

    def __init__(self) -> None:
        self._posteriors: dict[int, Posterior] = {}
        self._chains = ChainsOfFollower()
        self._threads = int(numba.get_num_threads())

    @property
    def answers(self) -> Mapping[str, Answer]:
        """By the word of a message."""
        return {
            POSTERIOR: self._know,
            LIKELIHOODS: self._likelihoods,
            CHAINS: self._begin_chains,
            ADVANCE: self._chains.advance,
            WHERE: self._chains.where,
        }

    def _know(self, message: Message) -> None:
        number, posterior = posterior_told(message)
        self._posteriors[number] = posterior

    def _begin_chains(self, message: Message) -> None:
        self._chains.begin(message, self._posteriors[message.facts["number"]])

    def _likelihoods(self, message: Message) -> Message:
        facts, (children, lengths, *theta) = message.facts, message.arrays
        set_threads(min(self._threads, facts["threads"]))
        posterior = self._posteriors[facts["number"]]
        model = posterior.model
        if isinstance(model, HeldModel):
            characters = model.characters
            if not facts["slopes"]:
                return Message(LIKELIHOODS, {}, (characters.log_likelihoods(children, lengths, theta[0]),))
            return Message(LIKELIHOODS, {}, arrays_of(characters.evaluate(children, lengths, theta[0], facts["parameters"])))
        if not facts["slopes"]:
            return Message(LIKELIHOODS, {}, (model.log_likelihoods(children, lengths, posterior.patterns),))
        return Message(LIKELIHOODS, {}, arrays_of(model.evaluate(children, lengths, posterior.patterns)))
