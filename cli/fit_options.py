"""What click needs to know of the options of a fit besides what their configuration says."""

from __future__ import annotations

from vbpi_mix_cli.options import burn_in, joined, only_one

SPECIAL = {
    "trees_from": {"metavar": "auto|mcmc|mrbayes|iqtree|FILES"},
    "burn_in": {"type": str, "metavar": "N", "callback": burn_in},
    "constraint": {"multiple": True, "default": (), "callback": joined},
    "substitution": {"multiple": True, "default": (), "callback": only_one},
    "prior": {"multiple": True, "default": (), "callback": joined},
}
# Fields of a fit that say what is sampled: data, model and priors.
TARGET = (
    "type", "partitions", "partitions_partial", "substitution", "prior", "link", "prior_lengths", "constraint", "fix_topology",
)  # fmt: skip
