"""Subsplit supports and subsplit Bayesian networks.

support: the clades, rootsplits and PCSPs of a set of topologies. networks: log q of topologies, and draws. splits:
split frequencies, exactly. coverage: the share of a sample that a support holds.
"""
