"""Kernels over topologies and Newick text."""
