"""Pictures of image models. matplotlib is imported when one is drawn, and needs no screen.

Everything becomes PNG bytes, the same for the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vbpi_mix.image.latent_plane import LatentPlane
from vbpi_mix.image.sampling import Panels
from vbpi_mix.plotting import COLOURS, new_figure, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Beside the colours, for print in grey.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DOTS_PER_INCH = 100
# Shown images are enlarged by whole numbers to about this many dots.
DOTS_PER_IMAGE = 56
GAP = 2
BACKGROUND = 0.75
LABEL_DOTS = 110
# Points of a group are spread over so many layers.
LAYERS = 8
TITLE_DOTS = 34
EDGE_DOTS = 10


def tile(images: Tensor) -> NDArray[np.float64]:
    """[rows, columns, C, H, W] in [0, 1] -> one picture [height, width, 3], enlarged, with gaps between the images."""
    rows, columns, _, H, W = images.shape
    scale = max(1, round(DOTS_PER_IMAGE / max(H, W)))
    large = images.double().numpy().repeat(scale, 3).repeat(scale, 4)
    height, width = H * scale, W * scale
    canvas = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), BACKGROUND)
    for row in range(rows):
        for column in range(columns):
            top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
            canvas[top : top + height, left : left + width] = large[row, column].transpose(1, 2, 0)
    return canvas


def draw_grid(images: Tensor, title: str, row_labels: Sequence[str] = ()) -> bytes:
    """A grid of images [rows, columns, C, H, W] under a title, with a label beside each row if there are any: PNG."""
    canvas = tile(images)
    height, width = canvas.shape[:2]
    left = LABEL_DOTS if row_labels else EDGE_DOTS
    total = (max(width + left + EDGE_DOTS, 9 * len(title)), height + TITLE_DOTS + EDGE_DOTS)
    figure = new_figure(total[0] / DOTS_PER_INCH, total[1] / DOTS_PER_INCH, layout=None)
    axes = figure.add_axes((left / total[0], EDGE_DOTS / total[1], width / total[0], height / total[1]))
    axes.imshow(canvas, interpolation="nearest", vmin=0.0, vmax=1.0)
    axes.set_axis_off()
    step = height / len(images)
    for row, label in enumerate(row_labels):
        axes.text(-8, (row + 0.5) * step, label, ha="right", va="center", fontsize=9)
    figure.text(EDGE_DOTS / total[0], 1 - 0.5 * TITLE_DOTS / total[1], title, ha="left", va="center", fontsize=10)
    return _png(figure)


def square_grid(images: Tensor) -> Tensor:
    """[n, C, H, W] as [rows, columns, C, H, W], about square; what is left of the last row is background."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    missing = images.new_full((rows * columns - len(images), *images.shape[1:]), BACKGROUND)
    return torch.cat([images, missing]).unflatten(0, (rows, columns))


def picture_files(panels: Panels, title: str, remark: str = "") -> dict[str, bytes]:
    """Name and PNG of each of the pictures of a model: samples, components, reconstructions."""
    labels = ["test images", *(f"component {a + 1}" for a in panels.shown)]
    by_component = torch.cat([panels.originals[None], panels.components])
    pairs = torch.stack([panels.originals, panels.reconstructions])
    return {
        "samples.png": draw_grid(square_grid(panels.prior), f"{title}: samples{remark}"),
        "components.png": draw_grid(by_component, f"{title}: by component{remark}", labels),
        "reconstructions.png": draw_grid(pairs, f"{title}: reconstructions{remark}", ["test images", "reconstructed"]),
    }


def draw_latent_plane(plane: LatentPlane, title: str) -> bytes:
    """The same points twice, by label (a numeral each) if there are labels, and by component (a mark each): PNG."""
    by_component = [plane.shown.index(a) for a in plane.components]
    names = [f"component {a + 1}" for a in plane.shown]
    panels = [("component", by_component, names, [MARKERS[i % len(MARKERS)] for i in range(len(names))])]
    if plane.labels is not None:
        found = sorted(set(plane.labels.tolist()))
        own = [found.index(label) for label in plane.labels]
        panels.insert(0, ("label", own, [str(label) for label in found], [f"${label}$" for label in found]))
    figure = new_figure(5.6 * len(panels), 5.0)
    for number, (what, groups, names, marks) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        _scatter(axes, plane.points, np.array(groups), names, marks)
        axes.set_title(f"by {what}", fontsize=10)
        across, up = (f"principal axis ({100 * share:.0f} % of the variance)" for share in plane.shares)
        axes.set_xlabel(f"first {across}")
        axes.set_ylabel(f"second {up}")
    figure.suptitle(title, fontsize=11)
    return _png(figure)


def _scatter(
    axes: Any, points: NDArray[np.float64], groups: NDArray[np.int64], names: Sequence[str], marks: Sequence[str]
) -> None:
    """Points with the colour and the mark of their group, drawn in their order, so that no group hides another."""
    for group, (name, mark) in enumerate(zip(names, marks, strict=True)):
        style = {"marker": mark, "color": COLOURS[group % len(COLOURS)], "linewidths": 0.3}
        axes.scatter([], [], s=30, label=name, **style)
        for part in range(LAYERS):
            own = np.flatnonzero(groups == group)[part::LAYERS]
            axes.scatter(points[own, 0], points[own, 1], s=16, alpha=0.8, zorder=2 + part / LAYERS, **style)
    if not marks[0].startswith("$"):  # numerals say what they are
        axes.legend(fontsize=8, loc="best")
    axes.set_axisbelow(True)
    axes.grid(color="0.9", linewidth=0.6)


@dataclass(frozen=True)
class Point:
    """One run in a comparison. series: what the line is called; values by quantity, None where not measured."""

    series: str
    A: int
    values: dict[str, float | None]


@dataclass(frozen=True)
class Quantity:
    """What one panel shows: a key of Point.values, the label of its axis, and whether the axis is logarithmic."""

    key: str
    label: str
    logarithmic: bool = False


def share_single(points: Sequence[Point]) -> list[Point]:
    """The points with those of A = 1 on every line: with one component all estimators are the same. If there is nothing
    else they stay as they are.
    """
    names = dict.fromkeys(point.series for point in points if point.A > 1)
    if not names:
        return list(points)
    single = [point for point in points if point.A == 1]
    return [
        Point(name, point.A, point.values)
        for name in names
        for point in (*single, *(point for point in points if point.series == name and point.A > 1))
    ]


def draw_comparison(points: Sequence[Point], quantities: Sequence[Quantity], title: str = "") -> bytes:
    """A panel for each quantity against A: mean over runs of a series with the same A, bars from least to largest. PNG.

    Quantities that no run has are left out.
    """
    shown = [quantity for quantity in quantities if any(point.values.get(quantity.key) is not None for point in points)]
    names = list(dict.fromkeys(point.series for point in points))
    width = 4.3 * max(1, len(shown))
    columns = max(1, int(width / (0.075 * max(map(len, names), default=0) + 0.6)))
    figure = new_figure(width, 3.4 + 0.2 * math.ceil(len(names) / columns))
    for number, quantity in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), number + 1)
        for index, series in enumerate(names):
            own = [point for point in points if point.series == series]
            _draw_series(axes, own, quantity, series, index)
        _finish_axes(axes, quantity, sorted({point.A for point in points}))
    drawn = {name: mark for axes in figure.axes for mark, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    # Below the panels, as names may be long.
    figure.legend(list(drawn.values()), list(drawn), loc="outside lower left", ncols=columns, fontsize=8)
    if title:
        figure.suptitle(title, fontsize=11)
    return _png(figure)


def _draw_series(axes: Any, points: Sequence[Point], quantity: Quantity, series: str, index: int) -> None:
    """Mean and range over the runs of each A; where runs of several series share an A they are set side by side."""
    found: dict[int, list[float]] = {}
    for point in points:
        value = point.values.get(quantity.key)
        if value is not None:
            found.setdefault(point.A, []).append(value)
    if not found:
        return
    A = sorted(found)
    means = [float(np.mean(found[a])) for a in A]
    spread = [
        [mean - min(found[a]) for a, mean in zip(A, means, strict=True)],
        [max(found[a]) - mean for a, mean in zip(A, means, strict=True)],
    ]
    axes.errorbar(
        [a * 1.04**index for a in A],
        means,
        yerr=spread if any(len(values) > 1 for values in found.values()) else None,
        label=series,
        color=COLOURS[index % len(COLOURS)],
        marker=MARKERS[index % len(MARKERS)],
        markersize=5,
        linewidth=1.2,
        capsize=3,
    )


def _finish_axes(axes: Any, quantity: Quantity, components: Sequence[int]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.set_xscale("log", base=2)
    axes.set_xticks(components, [str(A) for A in components])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    if quantity.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("components A")
    axes.set_ylabel(quantity.label)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def _png(figure: Figure) -> bytes:
    return render(figure, ("png",), DOTS_PER_INCH)["png"]
