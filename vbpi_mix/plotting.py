"""What all pictures share: colours, figures that need no screen, and files that are the same bytes for the same picture.

matplotlib is imported when a figure is made.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by the colour-blind too, and one more.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#666666", "#B8A500")
# Neither date nor program, and fixed names of the elements of SVG.
_METADATA: dict[str, Any] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
# Letters of PDF as outlines of their font, which programs that edit figures keep as text.
_SETTINGS: Any = {"svg.hashsalt": "vbpi-mix", "svg.fonttype": "none", "pdf.fonttype": 42}


def new_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """An empty figure of that size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def render(figure: Figure, formats: Sequence[str], dots_per_inch: float) -> dict[str, bytes]:
    """The figure as files, by format: pdf, png, svg."""
    import matplotlib

    files = {}
    with matplotlib.rc_context(_SETTINGS):
        for form in formats:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=form, dpi=dots_per_inch, metadata=_METADATA[form])
            files[form] = buffer.getvalue()
    return files
