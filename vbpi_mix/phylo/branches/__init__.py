"""Densities of branch lengths: features of an edge, base densities, and the flow on top.

base: the contract of a base density. lognormal: the default. flows: shared by the components.
"""
