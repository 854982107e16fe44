"""Densities of branch lengths: features of an edge, base densities, and the flow on top.

lognormal: the base density. flows: planar and RealNVP, shared by the components.
"""
