"""Subsplit supports and subsplit Bayesian networks."""
