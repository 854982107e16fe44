"""Pictures of the toy experiments. matplotlib is imported when one is drawn, and needs no screen.

A picture is a matplotlib Figure; `render` makes files of it that are the same bytes for the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vbpi_mix import plotting
from vbpi_mix.plotting import COLOURS, new_figure
from vbpi_mix.toy.curves import Curve
from vbpi_mix.toy.quadrature import axis, grid, in_chunks
from vbpi_mix.toy.targets import ToyTarget

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")
DOTS_PER_INCH = 130
GRID_POINTS = 201
# Least gap shown below the ceiling, and levels of the log density below its maximum, in nats.
SMALLEST_SPAN = 0.05
LEVELS = (-12.0, -8.0, -5.5, -3.5, -2.0, -1.0, -0.4, 0.0)
PANELS_PER_ROW = 5


@dataclass(frozen=True)
class Panel:
    """What is shown of one approximation: samples [N, 2], labels [N], ellipses and weights if it has them."""

    title: str
    positions: Tensor
    labels: Tensor
    means: Tensor | None = None
    deviations: Tensor | None = None
    weights: Tensor | None = None


def draw_bounds(curves: Sequence[Curve], log_evidence: float) -> Figure:
    """MISELBO against training time, the maximum of each curve starred, below the exact log evidence."""
    figure = new_figure(6.4, 4.2)
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(curve.seconds, curve.miselbo, color=colour, linewidth=1.2, label=curve.label)
        if curve.miselbo:
            best = curve.best
            point = ([curve.seconds[best]], [curve.miselbo[best]])
            axes.plot(*point, marker="*", markersize=13, color=colour, markeredgecolor="black", zorder=5)
    axes.axhline(log_evidence, color="black", linestyle="--", linewidth=1.0)
    axes.annotate(
        f"exact log evidence {log_evidence:.3f}",
        (0.01, log_evidence),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=8,
    )
    axes.set_ylim(*_bound_limits(curves, log_evidence))
    axes.set_xlim(left=0.0)
    axes.set_xlabel("training time (seconds)")
    axes.set_ylabel("MISELBO (nats)")
    axes.legend(loc="lower right", fontsize=8, framealpha=0.9)
    return figure


def draw_latent(target: ToyTarget, panels: Sequence[Panel]) -> Figure:
    """The exact posterior with the components' one-standard-deviation ellipses in red.

    With weights, the width of an ellipse's line shows its weight. What has no ellipses shows samples.
    """
    figure, axes = _panel_grid(len(panels))
    for place, panel in zip(axes, panels, strict=True):
        _shade(place, target)
        if panel.means is None or panel.deviations is None:
            _scatter(place, panel, size=1.0)
        else:
            _draw_ellipses(place, panel.means, panel.deviations, panel.weights)
        _finish_panel(place, target, panel.title)
    return figure


def draw_samples(target: ToyTarget, panels: Sequence[Panel]) -> Figure:
    """The target, then samples of each approximation, coloured by component."""
    figure, axes = _panel_grid(len(panels) + 1)
    _shade(axes[0], target)
    _finish_panel(axes[0], target, "target")
    for place, panel in zip(axes[1:], panels, strict=True):
        _scatter(place, panel, size=2.0)
        _finish_panel(place, target, panel.title)
    return figure


def draw_weights(panels: Sequence[Panel]) -> Figure:
    """Mixture weights, largest first, against the uniform weight."""
    from matplotlib.ticker import MaxNLocator

    weighted = [panel for panel in panels if panel.weights is not None]
    figure = new_figure(6.4, 3.2 * max(1, len(weighted)))
    for number, panel in enumerate(weighted):
        axes = figure.add_subplot(len(weighted), 1, number + 1)
        assert panel.weights is not None
        weights = panel.weights.sort(descending=True).values.tolist()
        axes.bar(range(1, len(weights) + 1), weights, color=COLOURS[0])
        axes.axhline(1.0 / len(weights), color="black", linestyle="--", linewidth=1.0, label="uniform")
        axes.set_title(panel.title, fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("component, largest weight first")
        axes.set_ylabel("weight")
        axes.legend(fontsize=8)
    return figure


def render(figure: Figure) -> dict[str, bytes]:
    """The figure as PNG and as SVG, by format."""
    return plotting.render(figure, FORMATS, DOTS_PER_INCH)


def _panel_grid(count: int) -> tuple[Figure, list[Any]]:
    columns = min(count, PANELS_PER_ROW)
    rows = math.ceil(count / columns)
    figure = new_figure(max(3.2, 2.5 * columns), 2.75 * rows if count > 1 else 3.4)
    return figure, [figure.add_subplot(rows, columns, number + 1) for number in range(count)]


def _shade(axes: Any, target: ToyTarget) -> None:
    """Contours of the log density, relative to its maximum in the window."""
    line = axis(*target.window, GRID_POINTS)
    values = in_chunks(target.log_joint, grid(line, line)).view(GRID_POINTS, GRID_POINTS)
    relative = (values - values.max()).T.numpy()
    shades = axes.contourf(line.numpy(), line.numpy(), relative, levels=LEVELS, cmap="Blues")
    shades.set_rasterized(True)  # hundreds of kilobytes as outlines


def _draw_ellipses(axes: Any, means: Tensor, deviations: Tensor, weights: Tensor | None) -> None:
    from matplotlib.patches import Ellipse

    A = len(means)
    shares = [1.0] * A if weights is None else (weights * A).tolist()
    for mean, deviation, share in zip(means.tolist(), deviations.tolist(), shares, strict=True):
        axes.add_patch(
            Ellipse(
                (mean[0], mean[1]),
                2.0 * deviation[0],
                2.0 * deviation[1],
                fill=False,
                edgecolor="#D00000",
                linewidth=min(4.0, 0.9 * share),
            )
        )


def _scatter(axes: Any, panel: Panel, size: float) -> None:
    """Samples, rasterised so that a vector file stays small; neighbouring labels get unlike colours."""
    count = int(panel.labels.max()) + 1
    if count == 1:
        colours: Any = COLOURS[0]
    else:
        import matplotlib

        shades = matplotlib.colormaps["turbo"](torch.linspace(0.03, 0.97, count).numpy())
        colours = shades[panel.labels.numpy()]
    x, y = panel.positions.unbind(1)
    axes.scatter(x.numpy(), y.numpy(), s=size, c=colours, linewidths=0.0, rasterized=True)


def _finish_panel(axes: Any, target: ToyTarget, title: str) -> None:
    axes.set_xlim(*target.window)
    axes.set_ylim(*target.window)
    axes.set_aspect("equal")
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    axes.set_xlabel("$z_1$", fontsize=8, labelpad=1)
    axes.set_ylabel("$z_2$", fontsize=8, labelpad=-2)


def _bound_limits(curves: Sequence[Curve], log_evidence: float) -> tuple[float, float]:
    """Limits that show how the curves end: from a little below where the last of them stood half way."""
    half_way = [curve.miselbo[len(curve.miselbo) // 2] for curve in curves if curve.miselbo]
    highest = [log_evidence, *(max(curve.miselbo) for curve in curves if curve.miselbo)]
    span = max(SMALLEST_SPAN, log_evidence - min(half_way, default=log_evidence))
    return log_evidence - 1.5 * span, max(highest) + 0.15 * span
