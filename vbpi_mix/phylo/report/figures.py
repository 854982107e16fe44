"""Plots, as bytes of PNG and SVG files. matplotlib is imported when one is drawn, without a display."""

from __future__ import annotations

from typing import Any

import numpy as np

from vbpi_mix.phylo.sbn.splits import MINIMUM_FREQUENCY
from vbpi_mix.plotting import COLOURS, new_figure, render

_FORMATS = ("png", "svg")
_DOTS_PER_INCH = 200
_NAME_AT_MOST = 42


def split_scatter(
    first: np.ndarray, second: np.ndarray, first_name: str, second_name: str, caption: str
) -> dict[str, bytes]:
    """Two sets of split frequencies, float64 [M], against each other; contents by format, png and svg."""
    return render(_draw_scatter(first, second, first_name, second_name, caption), _FORMATS, _DOTS_PER_INCH)


def _draw_scatter(
    first: np.ndarray, second: np.ndarray, first_name: str, second_name: str, caption: str
) -> Any:
    figure = new_figure(4.5, 4.7)
    axes = figure.add_subplot()
    counted = np.maximum(first, second) >= MINIMUM_FREQUENCY
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, zorder=1)
    styles = (
        (~counted, "0.55", "rarer in both"),
        (counted, COLOURS[0], f"at {MINIMUM_FREQUENCY} or more in either"),
    )
    for rows, colour, label in styles:
        axes.scatter(
            second[rows],
            first[rows],
            s=18,
            color=colour,
            alpha=0.7,
            linewidths=0,
            label=label,
            clip_on=False,
            zorder=2,
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.set_xlabel(f"split frequency, {_plain(second_name)}", fontsize=9)
    axes.set_ylabel(f"split frequency, {_plain(first_name)}", fontsize=9)
    axes.set_title(_plain(caption), fontsize=9)
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _plain(text: str) -> str:
    """Text in which `$` starts no formula; of a long path the end."""
    text = text if len(text) <= _NAME_AT_MOST else "..." + text[3 - _NAME_AT_MOST :]
    return text.replace("$", r"\$")
