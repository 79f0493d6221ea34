"""Plots as SVG, by matplotlib, which is imported when a plot is made."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpe_bench.machine import sentence
from dpe_coap.errors import LocalError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0b6e99", "#d1622b", "#4b8b3b", "#8e5ea2", "#777777", "#c9a227")
"""Told apart by people who see colours differently, and in grey."""
SMALL = 7
"""Points."""


def check() -> None:
    """Raise LocalError when there is no matplotlib: before a long measurement, not after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise LocalError("a plot needs matplotlib", hint="pip install matplotlib, or leave --plot out") from None


def figure(width: float, height: float) -> "Figure":
    """Return an empty figure of so many inches."""
    check()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def tidy(axes: "Axes", title: str) -> None:
    """Give axes their title, and take away what tells nothing."""
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)


def growth(axes: "Axes", rows: Sequence[int], series: Mapping[str, Sequence[float]]) -> None:
    """Draw lines over the number of rows."""
    for colour, (name, values) in zip(COLOURS, series.items(), strict=False):
        axes.plot(rows, values, "o-", ms=3, lw=1.2, color=colour, label=name)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.4 * max(max(values) for values in series.values()))  # with room for the legend
    axes.set_xlabel("rows", fontsize=SMALL)
    axes.legend(loc="upper left", fontsize=SMALL, frameon=False)


def bars(axes: "Axes", series: Mapping[str, Mapping[str, float]]) -> None:
    """Draw bars side by side in groups: the values of each series by group."""
    groups = list(dict.fromkeys(group for values in series.values() for group in values))
    width = 0.8 / len(series)
    for index, (name, values) in enumerate(series.items()):
        places = [groups.index(group) + (index + 0.5) * width - 0.4 for group in values]
        drawn = axes.bar(places, list(values.values()), width, label=name, color=COLOURS[index % len(COLOURS)])
        axes.bar_label(drawn, [_short(value) for value in values.values()], fontsize=6)
    axes.set_xticks(range(len(groups)), groups)


def save(made: "Figure", path: Path, machine: Mapping[str, str]) -> None:
    """Write the figure as SVG, with its legend above and the machine below. The same figure gives the same bytes."""
    from matplotlib import rc_context

    if len(made.axes[0].get_legend_handles_labels()[0]) > 1:
        handles, labels = made.axes[0].get_legend_handles_labels()
        made.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=SMALL, frameon=False)
    lines = textwrap.wrap(sentence(machine), width=int(made.get_size_inches()[0] * 20))
    made.supxlabel("\n".join(lines), fontsize=6, color="#555555")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "dpe-coap"}):
        made.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    # matplotlib leaves blanks at the ends of lines
    text = path.read_text(encoding="utf-8")
    path.write_text("".join(f"{line.rstrip()}\n" for line in text.splitlines()), encoding="utf-8")


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 1 else f"{value:.1f}"
