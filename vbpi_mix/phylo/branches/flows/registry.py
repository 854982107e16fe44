"""The registry of flows: the command line, the checks of configurations and the tests read it.

A new flow is a file, a line here, and a twin in tests/reference. Neither torch nor numba is imported before a
flow is made, as the command line reads this table to print its help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vbpi_mix.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from vbpi_mix.phylo.branches.flows.contract import BranchFlow
    from vbpi_mix.phylo.sbn.support import SubsplitSupport

# What a size is called in a message; its key is the option's name without "flow_", and the constructor's argument.
SIZES = {"layers": "layers", "hidden": "hidden units"}


@dataclass(frozen=True)
class FlowSpec:
    """A flow: "module:Class", which sizes it has and their defaults, a line of help.

    The class is called as Class(pendant, n_splits, generator, dtype, **sizes) with pendant bool [n_features], whether the
    edges with a feature are pendant, the first n_splits of which are the splits.
    """

    implementation: str
    help: str
    sizes: Mapping[str, int] = field(default_factory=dict)


_HERE = "vbpi_mix.phylo.branches.flows"
SPECS: dict[str, FlowSpec] = {
    "planar": FlowSpec(f"{_HERE}.planar:Planar", "moves all edges along one direction", {"layers": 16}),
    "realnvp": FlowSpec(
        f"{_HERE}.realnvp:RealNVP", "affine coupling of pendant and internal edges", {"layers": 10, "hidden": 100}
    ),
    "spline": FlowSpec(f"{_HERE}.spline:Spline", "a monotone spline for each edge; slow, in plain torch"),
}  # fmt: skip
FLOWS = ("none", *SPECS)


def default_sizes(size: str) -> dict[str, int]:
    """Flow -> default, of the flows that have that size; for help texts."""
    return {name: spec.sizes[size] for name, spec in SPECS.items() if size in spec.sizes}


def flow_size(name: str, layers: int | None = None, hidden: int | None = None) -> tuple[int | None, int | None]:
    """Layers and hidden units of the flow of that name, the published ones where not given; None for a size that it lacks.

    ConfigError for another name, fewer than one layer or hidden unit, or a size that the flow lacks.
    """
    if name not in FLOWS:
        raise ConfigError(f"flow {name!r} is unknown: give {', '.join(FLOWS)}")
    own = SPECS[name].sizes if name in SPECS else {}
    given = {"layers": layers, "hidden": hidden}
    for size, value in given.items():
        if value is None:
            continue
        if size not in own:
            having = " or ".join(default_sizes(size))
            raise ConfigError(f"{value} {SIZES[size]} for flow {name}, which has none: leave them out, or give {having}")
        if value < 1:
            raise ConfigError(f"a flow with {value} {SIZES[size]}: give at least 1")
    return layers or own.get("layers"), hidden or own.get("hidden")


def make_flow(
    name: str,
    support: SubsplitSupport,
    generator: torch.Generator,
    layers: int | None = None,
    hidden: int | None = None,
    dtype: torch.dtype | None = None,
    split_only: bool = False,
) -> BranchFlow | None:
    """The flow of that name over the features of a support, or over its splits only; None for "none".

    dtype: of the weights, single precision if not given. Raises ConfigError as `flow_size` does.
    """
    layers, hidden = flow_size(name, layers, hidden)
    if name == "none":
        return None
    spec = SPECS[name]
    pendant = support.pendant_features[: support.n_splits if split_only else None]
    sizes = {size: value for size, value in (("layers", layers), ("hidden", hidden)) if value is not None}
    module, _, attribute = spec.implementation.partition(":")
    made: Any = getattr(import_module(module), attribute)
    flow: BranchFlow = made(pendant, support.n_splits, generator, dtype, **sizes)
    return flow
