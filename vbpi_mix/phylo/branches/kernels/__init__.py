"""Kernels of base densities and flows."""
