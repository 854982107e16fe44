"""Pictures as SVG that stands in a page: a few elements with their text escaped, and round numbers for axes."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

INK, FAINT, COLOUR, SECOND = "#1b1f24", "#9aa3ad", "#0072b2", "#d55e00"


def escape(text: object) -> str:
    """Text as it may stand in an element or in quotes; letters that no page may hold are left out."""
    allowed = (letter for letter in str(text) if letter in "\t\n" or ord(letter) >= 32)
    return html.escape("".join(allowed), quote=True)


def number(value: float) -> str:
    """A coordinate, to a hundredth of a pixel."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"


class Picture:
    """Elements of a picture of this size in pixels. label: what it shows, for those who cannot see it."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {number(width)} {number(height)}" '
            f'width="{number(width)}" height="{number(height)}" role="img" font-family="sans-serif" '
            f'aria-label="{escape(label)}">'
        )
        self._elements: list[str] = []

    def line(self, points: Sequence[tuple[float, float]], colour: str = INK, width: float = 1.0) -> None:
        """Points joined by straight lines."""
        path = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)
        self._elements.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{number(width)}"/>')

    def area(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        """A filled shape."""
        path = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points) + "Z"
        self._elements.append(f'<path d="{path}" fill="{colour}" fill-opacity="0.25" stroke="none"/>')

    def dot(self, x: float, y: float, radius: float, colour: str, title: str = "") -> None:
        """A disc, with a text that shows when it is pointed at."""
        said = f"<title>{escape(title)}</title>" if title else ""
        self._elements.append(
            f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(radius)}" fill="{colour}" fill-opacity="0.8">{said}</circle>'
        )

    def text(
        self, x: float, y: float, words: str, size: float = 12, anchor: str = "start", colour: str = INK, title: str = "",
        halo: bool = False, turned: bool = False,
    ) -> None:  # fmt: skip
        """Words. anchor: start, middle or end. halo: white around the letters; turned: upwards."""
        place = f'x="{number(x)}" y="{number(y)}"'
        around = ' stroke="#fff" stroke-width="3" paint-order="stroke"' if halo else ""
        turn = f' transform="rotate(-90 {number(x)} {number(y)})"' if turned else ""
        said = f"<title>{escape(title)}</title>" if title else ""
        self._elements.append(
            f'<text {place} font-size="{number(size)}" text-anchor="{anchor}" fill="{colour}"{around}{turn}>'
            f"{said}{escape(words)}</text>"
        )

    def markup(self) -> str:
        """The element of a page."""
        return f"{self._head}{''.join(self._elements)}</svg>"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers in a range, about so many."""
    if not high > low:
        return [low]
    step = 10.0 ** math.floor(math.log10((high - low) / about))
    step *= next((factor for factor in (1, 2, 5) if (high - low) / (step * factor) <= about), 10)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]
