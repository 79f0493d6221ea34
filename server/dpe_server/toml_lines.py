"""Where in a TOML text a table or a key stands: what the standard parser does not tell, and an error should."""

import tomllib
from collections import Counter
from collections.abc import Iterator
from typing import Any


def line_of(text: str, table: str | None, index: int = 0, key: str | None = None) -> int | None:
    """Return the line (from 1) on which ``key`` of ``table`` is set or, without a key, the table begins.

    ``table`` is a dotted name, None the root; ``index`` counts, from 0, the elements of the array of tables that it is
    or lies in. ``key`` may be dotted and may be a sub-table. None: not there. ``text`` must be valid TOML.
    """
    base = _parts(table)
    place = (*base, *_parts(key))
    elements: Counter[tuple[str, ...]] = Counter()
    header: tuple[str, ...] = ()
    for line, source, values in _statements(text):
        if source.startswith("["):
            header = _first_path(values)
            elements[header] += source.startswith("[[")
            values = {}
        array = next((base[:n] for n in range(len(base), 0, -1) if elements[base[:n]]), ())
        if index == max(elements[array] - 1, 0) and _holds(header, values, place):
            return line
    return None


def _parts(name: str | None) -> tuple[str, ...]:
    return tuple(name.split(".")) if name else ()


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield the first line, the text and the parsed value of each statement.

    A statement ends with its line, so the fewest lines that parse are one statement: no grammar is needed here.
    """
    start, source = 1, ""
    for number, line in enumerate(text.split("\n"), 1):
        source += line + "\n"
        try:
            values = tomllib.loads(source)
        except tomllib.TOMLDecodeError:
            continue
        if values:
            yield start, source.lstrip(), values
        start, source = number + 1, ""


def _first_path(values: dict[str, Any]) -> tuple[str, ...]:
    """Return the names on the way down to the one innermost table."""
    path: tuple[str, ...] = ()
    while values:
        name, value = next(iter(values.items()))
        path += (name,)
        values = value[0] if isinstance(value, list) else value
    return path


def _holds(header: tuple[str, ...], values: dict[str, Any], place: tuple[str, ...]) -> bool:
    """Say whether a statement under ``header`` that sets ``values`` is, or makes, what is at ``place``."""
    if header[: len(place)] == place[: len(header)]:
        if len(place) <= len(header):
            return not values
        here: Any = values
        for name in place[len(header) :]:
            if not isinstance(here, dict) or name not in here:
                return False
            here = here[name]
        return True
    return False
