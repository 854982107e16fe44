"""A consensus tree as a picture in a file, PDF, PNG or SVG, drawn by ETE 3 or by matplotlib.

ETE 3 draws with Qt, which ends the program where it finds no screen to draw on: it does so in a process of its own
(ete3_page.py), that is told to draw without one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vbpi_mix.errors import ConfigError
from vbpi_mix.files import check_free, check_writable, write_whole
from vbpi_mix.phylo.report.rooting import Rooted
from vbpi_mix.phylo.report.svg import INK
from vbpi_mix.phylo.report.tree_figure import draw_on
from vbpi_mix.plotting import new_figure, render

if TYPE_CHECKING:
    from vbpi_mix.phylo.report.consensus import Consensus

FORMATS = ("pdf", "png", "svg")
DRAWERS = ("ete3", "matplotlib")
_PIXELS_PER_INCH = 96.0
_POINTS_PER_PIXEL = 72.0 / _PIXELS_PER_INCH
_DOTS_PER_INCH = 192.0
# Of a tree of 2,000 taxa; ETE 3 takes a few seconds for 200.
_LONGEST_SECONDS = 600
_NO_ETE3 = "install it by `pip install 'vbpi-mix[ete3]'` (Python below 3.13), or draw by matplotlib"


@dataclass(frozen=True)
class Drawing:
    """A picture that was written: its file, who drew it ("ete3" or "matplotlib"), and remarks on root, letters and drawer."""

    path: Path
    drawer: str
    remarks: tuple[str, ...] = ()


def check_picture(place: Path, drawer: str | None, force: bool) -> None:
    """ConfigError unless the picture's format is known by its ending, its place can be written, and the drawer is there.

    drawer: one of DRAWERS; None for ETE 3 if it is installed, else matplotlib.
    """
    if _form(place) not in FORMATS:
        raise ConfigError(f"{place}: a picture is PDF, PNG or SVG; let its name end in .pdf, .png or .svg")
    if drawer not in (None, *DRAWERS):
        raise ConfigError(f"{drawer!r} draws no trees; choose one of {', '.join(DRAWERS)}")
    if drawer == "ete3" and not _has_ete3():
        raise ConfigError(f"ETE 3 or PyQt5, by which it draws, is not installed: {_NO_ETE3}")
    check_free([place], force)
    check_writable(place.absolute().parent)


def draw_picture(rooted: Rooted, place: Path, drawer: str | None = None) -> Drawing:
    """Write the picture of a tree; `check_picture` has passed its place.

    Without a `drawer` matplotlib draws where ETE 3 fails, and a remark says so. ConfigError if the file cannot be written
    after all, or if the drawer that was asked for fails.
    """
    remarks = [rooted.remark] if rooted.remark else []
    content = None
    if drawer == "ete3" or (drawer is None and _has_ete3()):
        content, fault = _by_ete3(rooted.tree, _form(place))
        if content is None and drawer == "ete3":
            raise ConfigError(f"ETE 3 cannot draw here ({fault}); draw by matplotlib")
        if content is None:
            remarks.append(f"ETE 3 cannot draw here ({fault})")
    by = "matplotlib" if content is None else "ete3"
    if content is None:
        content, missing = _by_matplotlib(rooted.tree, _form(place))
        remarks += missing
    write_whole(place, content)
    return Drawing(place, by, tuple(remarks))


def _form(place: Path) -> str:
    return place.suffix.lower().removeprefix(".")


def _has_ete3() -> bool:
    return find_spec("ete3") is not None and find_spec("PyQt5") is not None


def _by_ete3(tree: Consensus, form: str) -> tuple[bytes | None, str]:
    """The picture, or None and what went wrong."""
    from vbpi_mix.phylo.report import ete3_page

    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # ETE 3 imports modules that warn of their age.
    environment.pop("PYTHONWARNINGS", None)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / f"tree.{form}"
        environment["XDG_RUNTIME_DIR"] = folder
        # -P: what lies in the user's folder is no module.
        command = [sys.executable, "-P", "-m", ete3_page.__name__, str(made)]
        try:
            done = subprocess.run(
                command, input=json.dumps(dataclasses.asdict(tree)), env=environment, capture_output=True, text=True,
                encoding="utf-8", errors="replace", check=False, timeout=_LONGEST_SECONDS,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return None, str(error)
        if done.returncode == 0 and made.exists():
            return made.read_bytes(), ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return None, lines[-1].strip() if lines else f"it ended with status {done.returncode}"


def _by_matplotlib(tree: Consensus, form: str) -> tuple[bytes, list[str]]:
    """The picture, and a remark if its font lacks letters."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        sheet = draw_on(tree, _Sheet)
        content = render(sheet.figure, [form], _DOTS_PER_INCH)[form]
    lacking = any("missing from" in str(each.message) for each in said)
    return content, ["matplotlib's font lacks letters of some names; boxes stand for them"] if lacking else []


class _Sheet:
    """A canvas (tree_figure.Canvas) on a figure of matplotlib, a pixel of it a 96th of an inch."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self.figure = new_figure(width / _PIXELS_PER_INCH, height / _PIXELS_PER_INCH, layout=None)
        self._axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0), label=label)
        self._axes.set_xlim(0, width)
        self._axes.set_ylim(height, 0)
        self._axes.set_axis_off()

    def line(self, points: Sequence[tuple[float, float]], colour: str = INK, width: float = 1.0) -> None:
        across, down = zip(*points, strict=True)
        self._axes.plot(across, down, color=colour, linewidth=width * _POINTS_PER_PIXEL, solid_capstyle="projecting")

    def dot(self, x: float, y: float, radius: float, colour: str, title: str = "") -> None:
        from matplotlib.patches import Circle

        self._axes.add_patch(Circle((x, y), radius, facecolor=colour, alpha=0.8, linewidth=0, zorder=3))

    def text(
        self, x: float, y: float, words: str, size: float = 12, anchor: str = "start", colour: str = INK, title: str = "",
        halo: bool = False,
    ) -> None:  # fmt: skip
        from matplotlib.patheffects import withStroke

        sides: Any = {"start": "left", "middle": "center", "end": "right"}
        around = [withStroke(linewidth=3 * _POINTS_PER_PIXEL, foreground="white")] if halo else []
        self._axes.text(
            x, y, words, fontsize=size * _POINTS_PER_PIXEL, ha=sides[anchor], va="baseline", color=colour, zorder=4,
            parse_math=False, path_effects=around,
        )  # fmt: skip
