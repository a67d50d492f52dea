"""Throughput and p99 by concurrency: as a picture, and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Series = dict[str, list[tuple[int, float, float]]]


def series_of(rows: Sequence[dict[str, Any]]) -> Series:
    """By gateway: connections, requests a second, p99 in milliseconds."""
    found: Series = {}
    for row in rows:
        point = (row["connections"], row["per_s"], row["p99_ms"])
        found.setdefault(row["series"], []).append(point)
    return found


def draw_picture(series: Series, path: Path) -> None:
    """Two plots beside each other, as PNG."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - a second, and only when it is drawn

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for name, points in series.items():
        connections = [point[0] for point in points]
        axes[0].plot(connections, [point[1] for point in points], marker="o", label=name)
        axes[1].plot(connections, [point[2] for point in points], marker="o", label=name)
    for axis, title in zip(axes, ("requests a second", "p99, milliseconds"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="connections", title=title)
        axis.grid(visible=True, which="both", alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=110)


def draw_in_terminal(series: Series) -> str:
    """The same as text: both axes in powers of ten."""
    return "\n".join((_text_plot(series, 1, "requests a second"), _text_plot(series, 2, "p99, ms")))


def _text_plot(series: Series, index: int, title: str) -> str:
    import plotext  # noqa: PLC0415 - as above

    figure = plotext.figure
    figure.clear()
    figure.plot_size(76, 14)
    for name, points in series.items():
        connections = [math.log10(point[0]) for point in points]
        signal = figure.signal(connections, [math.log10(point[index]) for point in points])
        signal.lines()
        signal.label(name)
        figure.draw(signal)
    figure.title(f"{title} by connections (log10, log10)")
    return str(figure.build().string(colorless=True))
