"""The posterior of a fit, of which followers (vbpi_mix/followers.py) are told: they make the same, from the same parts."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vbpi_mix.followers import followers
from vbpi_mix.messages import Message
from vbpi_mix.phylo.config import ModelConfig
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.parts import DataPart, parts_state, posterior_of, restore_parts
from vbpi_mix.phylo.prior_choices import Priors, priors_state, restore_priors

POSTERIOR = "posterior"
# Tensors of a part's state; the rest is plain.
_TENSORS = ("states", "weights")


def shared_posterior(parts: Sequence[DataPart], model: ModelConfig, chosen: Priors) -> Posterior:
    """`posterior_of`, known to all processes, whose likelihoods they share."""
    team = followers()
    if team is None:
        return posterior_of(parts, model, chosen)
    number = team.new_number()
    found = posterior_of(parts, model, chosen, number)
    state = parts_state(parts)
    tensors = tuple(each.pop(name).numpy() for each in state for name in _TENSORS)
    facts = {
        "number": number, "n_taxa": found.n_taxa, "parts": state, "priors": priors_state(found), "prior": model.prior,
        "link": model.link,
    }  # fmt: skip
    team.tell(Message(POSTERIOR, facts, tensors))
    return found


def posterior_told(message: Message) -> tuple[int, Posterior]:
    """The number and the posterior of a message of `shared_posterior`."""
    facts, arrays = message.facts, iter(message.arrays)
    state = [{**each, **{name: torch.from_numpy(next(arrays)) for name in _TENSORS}} for each in facts["parts"]]
    parts = restore_parts({"parts": state, "taxa": range(facts["n_taxa"])})
    model = ModelConfig(prior=facts["prior"], link=facts["link"])
    return facts["number"], posterior_of(parts, model, restore_priors(facts["priors"], facts["n_taxa"]))
