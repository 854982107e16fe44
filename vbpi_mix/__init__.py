"""Mixtures of subsplit Bayesian networks, learned by variational inference."""

__version__ = "0.1.0"
