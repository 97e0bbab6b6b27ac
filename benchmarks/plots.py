"""Plots as SVG: bars, distributions and curves. Pure: values in, text out, the same each time.

Colours and sizes are for a page of any colour: each plot has a white ground of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias
from xml.sax.saxutils import escape

__all__ = ["bars", "curves", "distributions", "ticks"]

Points: TypeAlias = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 780, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 230, 40, 50
COLOURS = (
    *("#c0392b", "#2471a3", "#239b56", "#b9770e", "#7d3c98", "#117a65", "#5d6d7e"),
    *("#d35400", "#1a5276", "#7b7d7d", "#a04000", "#4a235a", "#0e6655", "#626567", "#6e2c00"),
)
OWN = "ppnext"


def ticks(low: float, high: float) -> list[float]:
    """Return the powers of ten that go around a range.

    Raises:
        ValueError: the range is empty, or does not lie above zero.
    """
    if not 0 < low <= high:
        raise ValueError(f"no logarithmic scale goes from {low} to {high}")
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def bars(title: str, unit: str, values: Mapping[str, float]) -> str:
    """Return horizontal bars on a logarithmic scale, the longest first."""
    ordered = sorted(values.items(), key=lambda item: -item[1])
    marks = ticks(min(values.values()), max(values.values()))
    left, step = 190, 26
    height = TOP + step * len(ordered) + BOTTOM
    place = _scale(marks, left, WIDTH - 90)
    parts = [_text(place(mark), height - 30, _short(mark), "middle") for mark in marks]
    parts += [_line(place(mark), TOP, place(mark), height - 45, "#ddd") for mark in marks]
    for row, (name, value) in enumerate(ordered):
        y = TOP + row * step
        colour = COLOURS[0] if name.startswith(OWN) else COLOURS[1]
        parts.append(_text(left - 8, y + 15, name, "end"))
        parts.append(
            f'<rect x="{left}" y="{y + 3}" width="{max(1.0, place(value) - left):.1f}" '
            f'height="{step - 8}" fill="{colour}"/>'
        )
        parts.append(_text(place(value) + 5, y + 15, _short(value), "start"))
    parts.append(_text((left + WIDTH) / 2, height - 10, unit, "middle"))
    return _page(title, height, parts)


def distributions(title: str, unit: str, percentiles: Mapping[str, Sequence[float]]) -> str:
    """Return cumulative distributions: the share of values that are at most so much.

    Args:
        percentiles: for each name the percentiles from the 0th to the 100th.
    """
    lines = {
        name: [(value, percent) for percent, value in enumerate(values)]
        for name, values in percentiles.items()
    }
    every = [value for values in percentiles.values() for value in values[1:100]]
    marks = ticks(min(every), max(every))
    cut = {
        name: [(min(max(x, marks[0]), marks[-1]), y) for x, y in points]
        for name, points in lines.items()
    }
    levels = [0.0, 25.0, 50.0, 75.0, 100.0]
    return _chart(title, unit, "% of jobs", cut, marks, levels, _linear)


def curves(title: str, unit_x: str, unit_y: str, lines: Mapping[str, Points]) -> str:
    """Return curves, both scales logarithmic."""
    marks_x = ticks(*_range([x for points in lines.values() for x, _ in points]))
    marks_y = ticks(*_range([y for points in lines.values() for _, y in points]))
    return _chart(title, unit_x, unit_y, lines, marks_x, marks_y, _scale)


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _chart(
    title: str,
    unit_x: str,
    unit_y: str,
    lines: Mapping[str, Points],
    marks_x: Sequence[float],
    marks_y: Sequence[float],
    scale_y: Callable[[Sequence[float], float, float], Callable[[float], float]],
) -> str:
    right, low = WIDTH - RIGHT, HEIGHT - BOTTOM
    place_x, place_y = _scale(marks_x, LEFT, right), scale_y(marks_y, low, TOP)
    parts = []
    for mark in marks_x:
        parts.append(_line(place_x(mark), TOP, place_x(mark), low, "#ddd"))
        parts.append(_text(place_x(mark), low + 18, _short(mark), "middle"))
    for mark in marks_y:
        parts.append(_line(LEFT, place_y(mark), right, place_y(mark), "#ddd"))
        parts.append(_text(LEFT - 8, place_y(mark) + 4, _short(mark), "end"))
    for at, (name, points) in enumerate(lines.items()):
        colour, width = COLOURS[at % len(COLOURS)], 3 if name.startswith(OWN) else 1.5
        path = " ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        )
        parts.append(_line(right + 12, TOP + 10 + 20 * at, right + 32, TOP + 10 + 20 * at, colour))
        parts.append(_text(right + 38, TOP + 14 + 20 * at, name, "start"))
    parts.append(_text((LEFT + right) / 2, HEIGHT - 10, unit_x, "middle"))
    parts.append(_text(LEFT, TOP - 8, unit_y, "start"))
    return _page(title, HEIGHT, parts)


def _scale(marks: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    low, high = math.log10(marks[0]), math.log10(marks[-1])
    return lambda value: start + (math.log10(value) - low) / (high - low) * (end - start)


def _linear(marks: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - marks[0]) / (marks[-1] - marks[0]) * (end - start)


def _short(value: float) -> str:
    if value >= 10_000_000:
        return f"{value / 1_000_000:.0f} M"
    if value >= 1_000_000:
        return f"{value / 1_000_000:.3g} M"
    if value >= 10_000:
        return f"{value / 1000:.0f} k"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-width="{1 if colour == "#ddd" else 3}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _page(title: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        'font-family="sans-serif" font-size="12" fill="#222">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="white"/>\n'
        f'<text x="12" y="18" font-size="14" font-weight="bold">{escape(title)}</text>\n'
    )
    return head + "\n".join(parts) + "\n</svg>\n"
