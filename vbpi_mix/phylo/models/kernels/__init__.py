"""Kernels of likelihoods."""
