"""Plots as SVG, by matplotlib, which is imported when a plot is made: pip install 'dpe-coap[bench]'."""

from pathlib import Path
from typing import TYPE_CHECKING

from dpe_coap.errors import LocalError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0b6e99", "#d1622b", "#4b8b3b", "#8e5ea2", "#777777")
"""Told apart by people who see colours differently, and in grey."""


def check() -> None:
    """Raise LocalError when there is no matplotlib: before a long measurement, not after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise LocalError("a plot needs matplotlib", hint="pip install 'dpe-coap[bench]', or leave --plot out") from None


def figure(width: float, height: float) -> "Figure":
    """Return an empty figure of so many inches."""
    check()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 9}):
        return Figure(figsize=(width, height), layout="constrained")


def save(made: "Figure", path: Path, machine: dict[str, str]) -> None:
    """Write the figure as SVG, with the machine below it. The same figure gives the same bytes."""
    from matplotlib import rc_context

    made.supxlabel(", ".join(f"{name} {value}" for name, value in machine.items()), fontsize=6, color="#555555")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "dpe-coap"}):
        made.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    # matplotlib leaves blanks at the ends of lines
    text = path.read_text(encoding="utf-8")
    path.write_text("".join(f"{line.rstrip()}\n" for line in text.splitlines()), encoding="utf-8")
