"""Alignments, topologies, subsplit supports, likelihoods and the variational family over trees."""
