"""Kernels over supports, encoded topologies and networks."""
