"""Charts as SVG, drawn by the server: bars, columns, lines and donuts.

A chart has one number for each category and series; None is drawn as nothing. All colours are
attributes of the drawing, so that the page's policy can refuse inline styles.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from metronome_salesforce.sandbox.salesforce.pages.markup import Markup, join, tag
from metronome_salesforce.sandbox.salesforce.pages.showing import number_text

_COLOURS = ("#2f6fd0", "#e08a2e", "#2f9c7a", "#b5487f", "#7a62c9", "#8a9a2c", "#c4503f", "#4c8aa3")
_GRID = "#dde3ea"
_HIGH = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 36, 12, 34
_TICKS = 4
_LABEL_WIDTH = 75
_BAR, _BAR_GAP = 20, 8
_NAMES, _NUMBER = 190, 90
_LONGEST_NAME = 27
_DONUT = 130


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart: a number for each category, None where there is none."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn; `kind` is the metadata's: HorizontalBar, VerticalColumnStacked, Line, ...

    `wide` is the width of the drawing in its own units: letters keep their size in a narrow one.
    """

    kind: str
    title: str
    categories: tuple[str, ...]
    series: tuple[Series, ...]
    wide: int = 880


def draw(chart: Chart) -> Markup | None:
    """The chart as a figure; None if there is nothing to draw."""
    if not any(value for each in chart.series for value in each.values):
        return None
    kind = chart.kind.lower()
    if "donut" in kind or "pie" in kind:
        picture = _donut(chart)
    elif "line" in kind:
        picture = _lines(chart)
    elif "column" in kind:
        picture = _columns(chart, stacked="stacked" in kind)
    else:
        picture = _bars(chart, stacked="stacked" in kind)
    legend = _legend(chart) if len(chart.series) > 1 and "donut" not in kind else None
    return tag("figure", tag("figcaption", chart.title), picture, legend, class_="chart")


def nice_top(value: float) -> float:
    """A round number at or above the value, for the end of an axis."""
    if value <= 0:
        return 1.0
    step = 10.0 ** math.floor(math.log10(value))
    return next(step * each for each in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * each >= value)


def short(value: float) -> str:
    """A number for an axis: 950, 12k, 1.5M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


# --- columns and lines ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Scale:
    """Places on an axis: zero, and how many units of the drawing one of the chart's is."""

    zero: float
    unit: float
    low: float
    high: float


def _scale(chart: Chart, room: float, *, stacked: bool) -> _Scale:
    """An axis from zero, or below, to a round number."""
    columns = [[one or 0 for one in column] for column in _by_category(chart)]
    if stacked:
        columns = [
            [sum(one for one in each if one > 0), sum(one for one in each if one < 0)]
            for each in columns
        ]
    largest = max(max(each) for each in columns)
    least = min(min(each) for each in columns)
    high = nice_top(largest) if largest > 0 else 0.0
    low = -nice_top(-least) if least < 0 else 0.0
    unit = room / (high - low)
    return _Scale(-low * unit, unit, low, high)


def _columns(chart: Chart, *, stacked: bool) -> Markup:
    scale = _scale(chart, _HIGH - _TOP - _BOTTOM, stacked=stacked)
    floor = _HIGH - _BOTTOM - scale.zero
    width = (chart.wide - _LEFT - _RIGHT) / len(chart.categories)
    lanes = 1 if stacked else len(chart.series)
    lane = min(width * 0.72 / lanes, 64)
    bars = []
    for at, column in enumerate(_by_category(chart)):
        start = _LEFT + width * at + (width - lane * lanes) / 2
        up = down = 0.0
        for place, value in enumerate(column):
            high = abs(value or 0) * scale.unit
            if value is None or not high:
                continue
            left = start if stacked else start + lane * place
            y = floor - up - high if value > 0 else floor + down
            bars.append(_bar(chart, at, place, (left, y, max(lane - 1, 1), high)))
            if stacked:
                up, down = (up + high, down) if value > 0 else (up, down + high)
    return _upright(chart, scale, width, bars)


def _lines(chart: Chart) -> Markup:
    scale = _scale(chart, _HIGH - _TOP - _BOTTOM, stacked=False)
    floor = _HIGH - _BOTTOM - scale.zero
    width = (chart.wide - _LEFT - _RIGHT) / len(chart.categories)
    drawn = []
    for place, each in enumerate(chart.series):
        points = [
            (_LEFT + width * (at + 0.5), floor - value * scale.unit, at)
            for at, value in enumerate(each.values)
            if value is not None
        ]
        colour = _COLOURS[place % len(_COLOURS)]
        drawn.append(
            tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points),
                fill="none", stroke=colour, stroke_width=2, stroke_linejoin="round")
        )  # fmt: skip
        drawn += [
            tag("circle", _tip(chart, at, place), cx=f"{x:.1f}", cy=f"{y:.1f}",
                r=3 if len(points) <= 40 else 1.5, fill=colour)
            for x, y, at in points
        ]  # fmt: skip
    return _upright(chart, scale, width, drawn)


def _upright(chart: Chart, scale: _Scale, width: float, drawn: Sequence[Markup]) -> Markup:
    """What stands on a horizontal axis of categories, with the lines behind it."""
    bottom = float(_HIGH - _BOTTOM)
    grid = []
    for tick in range(_TICKS + 1):
        value = scale.low + (scale.high - scale.low) * tick / _TICKS
        y = bottom - (value - scale.low) * scale.unit
        grid.append(tag("path", d=f"M{_LEFT} {y:.1f}H{chart.wide - _RIGHT}", stroke=_GRID))
        grid.append(_text(short(value), _LEFT - 8, y + 4, anchor="end", faint=True))
    every = math.ceil(len(chart.categories) * _LABEL_WIDTH / chart.wide)
    labels = [
        _text(_cut(name, int(width * every / 5.8)), _LEFT + width * (at + 0.5), bottom + 20)
        for at, name in enumerate(chart.categories)
        if at % every == 0
    ]
    return _svg(chart, _HIGH, *grid, *drawn, *labels)


def _by_category(chart: Chart) -> list[tuple[float | None, ...]]:
    return list(zip(*(each.values for each in chart.series), strict=True))


# --- bars -------------------------------------------------------------------------------


def _bars(chart: Chart, *, stacked: bool) -> Markup:
    """Bars to the right, to the left where a number is below zero, each with its number."""
    scale = _scale(chart, chart.wide - _NAMES - _NUMBER, stacked=stacked)
    zero = _NAMES + scale.zero
    drawn: list[Markup] = []
    y = 4.0
    for at, column in enumerate(_by_category(chart)):
        # Where a category has one series only, no room is kept for the others.
        filled = [(place, value) for place, value in enumerate(column) if value]
        height = _BAR * (1 if stacked else max(len(filled), 1))
        drawn.append(
            _text(_cut(chart.categories[at], _LONGEST_NAME), _NAMES - 10, y + height / 2 + 4,
                  anchor="end")
        )  # fmt: skip
        right = left = zero
        for lane, (place, value) in enumerate(filled):
            wide = abs(value) * scale.unit
            start = right if value > 0 else left - wide
            lane_y = y if stacked else y + _BAR * lane
            drawn.append(_bar(chart, at, place, (start, lane_y + 1, max(wide, 1), _BAR - 2)))
            if stacked:
                right, left = (right + wide, left) if value > 0 else (right, left - wide)
            else:
                end = max(start + wide, zero)
                drawn.append(_text(short(value), end + 6, lane_y + 14, anchor="start", faint=True))
        if stacked:
            total = sum(value for _, value in filled)
            drawn.append(_text(short(total), right + 6, y + 14, anchor="start", faint=True))
        y += height + _BAR_GAP
    return _svg(chart, int(y), *drawn)


# --- donut ------------------------------------------------------------------------------


def _donut(chart: Chart) -> Markup:
    """Slices of the first series, clockwise from the top, with their names beside them."""
    values = [max(each or 0, 0) for each in chart.series[0].values]
    total = sum(values) or 1
    drawn: list[Markup] = []
    around = 2 * math.pi * 80
    turned = 0.0
    for at, value in enumerate(values):
        part = value / total
        colour = _COLOURS[at % len(_COLOURS)]
        drawn.append(
            tag("circle", _tip(chart, at, 0), cx=_DONUT, cy=_DONUT, r=80, fill="none",
                stroke=colour, stroke_width=44,
                stroke_dasharray=f"{part * around:.2f} {around:.2f}",
                transform=f"rotate({turned * 360 - 90:.3f} {_DONUT} {_DONUT})")
        )  # fmt: skip
        turned += part
        y = 30 + at * 22
        drawn.append(tag("rect", x=290, y=y - 11, width=12, height=12, rx=2, fill=colour))
        drawn.append(_text(f"{_cut(chart.categories[at], 40)}  {part:.1%}", 310, y, anchor="start"))
    drawn.append(_text(short(total), _DONUT, _DONUT + 4))
    return _svg(chart, max(2 * _DONUT, 30 + 22 * len(values)), *drawn)


# --- parts ------------------------------------------------------------------------------


def _bar(chart: Chart, at: int, place: int, box: tuple[float, float, float, float]) -> Markup:
    x, y, width, height = (f"{each:.1f}" for each in box)
    return tag(
        "rect", _tip(chart, at, place), x=x, y=y, width=width, height=height, rx=2,
        fill=_COLOURS[place % len(_COLOURS)],
    )  # fmt: skip


def _tip(chart: Chart, at: int, place: int) -> Markup:
    """What is shown to whoever points at a mark."""
    each = chart.series[place]
    value = each.values[at]
    name = f"{chart.categories[at]}, {each.name}" if each.name else chart.categories[at]
    return tag("title", f"{name}: {number_text(value if value is not None else 0, None)}")


def _text(text: str, x: float, y: float, *, anchor: str = "middle", faint: bool = False) -> Markup:
    return tag(
        "text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor,
        class_="faint" if faint else None,
    )  # fmt: skip


def _cut(name: str, longest: int) -> str:
    longest = max(longest, 4)
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _svg(chart: Chart, height: int, *drawn: Markup) -> Markup:
    return tag(
        "svg", tag("title", chart.title), *drawn, viewBox=f"0 0 {chart.wide} {height}", role="img",
        aria_label=chart.title,
    )  # fmt: skip


def _legend(chart: Chart) -> Markup:
    entries = [
        tag(
            "li",
            tag("svg", tag("rect", width=12, height=12, rx=2, fill=_COLOURS[at % len(_COLOURS)]),
                viewBox="0 0 12 12", aria_hidden="true"),
            join(each.name),
        )
        for at, each in enumerate(chart.series)
    ]  # fmt: skip
    return tag("ul", *entries, class_="legend")
