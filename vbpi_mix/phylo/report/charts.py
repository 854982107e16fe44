"""Small charts as SVG: a density with its interval, a curve over time, two sets of frequencies against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.report.svg import COLOUR, FAINT, INK, SECOND, Picture, ticks

_LINE = "#e3e7eb"
GRID_POINTS = 160
# Points of a curve, and of a cloud, that are drawn at most.
MOST_POINTS, MOST_DOTS = 800, 3_000


@dataclass(frozen=True)
class _Frame:
    """A chart's box in pixels and the values at its edges."""

    left: float
    top: float
    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def at(self, x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
        """Points of float64 [N] in pixels."""
        across = (x - self.x_range[0]) / (self.x_range[1] - self.x_range[0])
        up = (y - self.y_range[0]) / (self.y_range[1] - self.y_range[0])
        return list(zip((self.left + self.width * across).tolist(), (self.top + self.height * (1 - up)).tolist(), strict=True))


def density(values: np.ndarray, shares: np.ndarray, interval: tuple[float, float], name: str) -> str:
    """The density of draws float64 [N] with shares [N] (Gaussian kernel, Silverman's width), and where 95% of it is."""
    frame_width, height = 230.0, 120.0
    picture = Picture(frame_width, height, f"Posterior density of {name}")
    picture.text(8, 15, name, 12.5)
    low, high, curve = weighted_density(values, shares)
    grid = np.linspace(low, high, curve.size)
    frame = _Frame(8, 24, frame_width - 16, height - 46, (low, high), (0.0, float(curve.max()) or 1.0))
    inside = (grid >= interval[0]) & (grid <= interval[1])
    if inside.any():
        edge = np.concatenate([[0.0], curve[inside], [0.0]])
        picture.area(frame.at(np.concatenate([[grid[inside][0]], grid[inside], [grid[inside][-1]]]), edge), COLOUR)
    picture.line(frame.at(grid, curve), COLOUR, 1.6)
    bottom = frame.top + frame.height
    picture.line([(frame.left, bottom), (frame.left + frame.width, bottom)], FAINT)
    for value in ticks(low, high, 4):
        ((x, _),) = frame.at(np.array([value]), np.array([0.0]))
        picture.line([(x, bottom), (x, bottom + 4)], FAINT)
        anchor = "start" if x < 20 else "end" if x > frame_width - 20 else "middle"
        picture.text(x, bottom + 16, f"{value:.6g}", 10.5, anchor)
    return picture.markup()


def weighted_density(values: np.ndarray, shares: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Ends of a grid, and the density float64 [GRID_POINTS] there. What lies beyond 99.8% of the draws is not shown."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(shares[order])
    at = np.searchsorted(cumulative, np.array([0.001, 0.25, 0.75, 0.999]) * cumulative[-1])
    first, lower, upper, last = values[order][np.minimum(at, values.size - 1)].tolist()
    mean = float(shares @ values / shares.sum())
    sd = float(np.sqrt(shares @ (values - mean) ** 2 / shares.sum()))
    spread = min(sd, (upper - lower) / 1.34) or sd
    # What does not vary but for rounding has a narrow peak.
    spread = spread if spread > 1e-9 * abs(mean) else max(abs(mean), 1.0) * 1e-3
    width = 0.9 * spread * (shares.sum() ** 2 / (shares**2).sum()) ** -0.2
    low, high = first - 2 * width, last + 2 * width
    # Draws are put in bins first: a convolution costs nothing, and bins are finer than the kernel.
    bins = 1024
    count, edges = np.histogram(values, bins, (low, high), weights=shares)
    step = edges[1] - edges[0]
    reach = min(int(np.ceil(4 * width / step)), bins)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / width) ** 2)
    smooth = np.convolve(count, kernel / (kernel.sum() * step))[reach : reach + bins]
    centres = 0.5 * (edges[1:] + edges[:-1])
    return low, high, np.interp(np.linspace(low, high, GRID_POINTS), centres, smooth)


def curve(x: np.ndarray, y: np.ndarray, x_name: str, y_name: str) -> str:
    """A line through N points, float64 [N]. The lowest twentieth may be cut off: a start is far below what follows."""
    width, height = 720.0, 260.0
    picture = Picture(width, height, f"{y_name} against {x_name}")
    every = max(1, -(-x.size // MOST_POINTS))
    x, y = x[::every], y[::every]
    low, high = float(np.quantile(y, 0.05)), float(y.max())
    low -= 0.3 * (high - low)
    low = max(low, float(y.min())) if high > low else high - 1.0
    pad = 0.04 * (high - low) or 1.0
    frame = _Frame(76, 12, width - 92, height - 58, (float(x.min()), float(x.max()) or 1.0), (low - pad, high + pad))
    _axes(picture, frame, x_name, y_name)
    picture.line(frame.at(x, np.maximum(y, low - pad)), COLOUR, 1.4)
    return picture.markup()


def scatter(x: np.ndarray, y: np.ndarray, titles: Sequence[str], x_name: str, y_name: str) -> str:
    """Two sets of frequencies float64 [M] against each other; titles: what each point is."""
    side = 420.0
    picture = Picture(side, side, f"{y_name} against {x_name}")
    frame = _Frame(58, 12, side - 74, side - 66, (0.0, 1.0), (0.0, 1.0))
    _axes(picture, frame, x_name, y_name)
    picture.line(frame.at(np.array([0.0, 1.0]), np.array([0.0, 1.0])), FAINT)
    order = np.argsort(-np.maximum(x, y), kind="stable")[:MOST_DOTS]
    for k, (across, up) in zip(order.tolist(), frame.at(x[order], y[order]), strict=True):
        picture.dot(across, up, 3.5, SECOND if abs(x[k] - y[k]) > 0.05 else COLOUR, f"{titles[k]}: {x[k]:.3f}, {y[k]:.3f}")
    return picture.markup()


def _axes(picture: Picture, frame: _Frame, x_name: str, y_name: str) -> None:
    right, bottom = frame.left + frame.width, frame.top + frame.height
    for value in ticks(*frame.y_range, 5):
        ((_, y),) = frame.at(np.array([frame.x_range[0]]), np.array([value]))
        picture.line([(frame.left, y), (right, y)], _LINE)
        picture.text(frame.left - 7, y + 4, f"{value:.7g}", 11, "end")
    for value in ticks(*frame.x_range, 6):
        ((x, _),) = frame.at(np.array([value]), np.array([frame.y_range[0]]))
        picture.line([(x, bottom), (x, bottom + 4)], FAINT)
        picture.text(x, bottom + 17, f"{value:.6g}", 11, "middle")
    picture.line([(frame.left, frame.top), (frame.left, bottom), (right, bottom)], FAINT)
    picture.text(frame.left + frame.width / 2, bottom + 36, x_name, 12, "middle", INK)
    picture.text(14, frame.top + frame.height / 2, y_name, 12, "middle", INK, turned=True)
