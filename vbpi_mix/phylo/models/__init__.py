"""Substitution models: the likelihood, the posterior that it makes with the priors, and data drawn from it.

likelihood: patterns packed for the kernels, and the log-likelihood. posterior: its unnormalised density and gradient.
simulate: an alignment on a random tree.
"""
