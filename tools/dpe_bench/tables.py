"""The tables that benchmarks print."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def new_table(*, markdown: bool) -> "Table":
    """Return an empty table."""
    from rich import box
    from rich.table import Table

    return Table(box=box.MARKDOWN if markdown else box.SIMPLE_HEAD)
