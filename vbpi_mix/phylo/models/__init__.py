"""Substitution models: the likelihood, the posterior that it makes with the priors, and data drawn from it.

strings: models as IQ-TREE names them (named, matrices: what the names stand for). part: such a model for given patterns,
from real numbers to rates and back (parameters: their maps and priors). part_groups: parts
worked on together. rates: what likelihoods read of it and hand back.
reversible: pruning in numpy. likelihood: patterns packed for JC69's kernels, and the log-likelihood. posterior: its
unnormalised density and gradient. simulate: characters drawn on a tree. given: the likelihood of one tree, and characters,
under a model string whose numbers are all given.
"""
