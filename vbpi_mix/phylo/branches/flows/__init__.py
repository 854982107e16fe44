"""Flows of log branch lengths: a contract, a registry, one file a flow."""

from vbpi_mix.phylo.branches.flows.registry import FLOWS, flow_size, make_flow

__all__ = ["FLOWS", "flow_size", "make_flow"]
