"""Densities of branch lengths: features, base densities and flows."""
