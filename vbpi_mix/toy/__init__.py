"""Targets in two dimensions, with exact log evidence, and the approximations that are tried on them."""
