"""Where each key of a TOML document stands, in one pass: tomllib gives values without their lines."""

import re
import tomllib
from bisect import bisect_right

Path = tuple[str | int, ...]
"""Keys and, inside arrays, positions from 0: ``("rule", 1, "tac", 0)`` is the first TAC of the second rule."""

# The document is valid, so these need only find where things end. Up to two quotes may stand before the closing three.
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}' + r"|'''.*?'{3,5}" + r'|"(?:\\.|[^"\\])*"' + r"|'[^']*'",
    re.DOTALL,
)
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")


def lines_of(text: str) -> dict[Path, int]:
    """Return the line, from 1, of every key, table header and array item of ``text``, which tomllib has accepted.

    A path given in several places, such as a dotted parent, has the line where it is first named.
    """
    return _Walk(text).lines


class _Walk:
    """One pass over a valid document, noting the line of each path when it is first seen."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._counts: dict[Path, int] = {}  # arrays of tables: how many items so far
        table: Path = ()
        while first := self._peek():
            if first == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        start, array = self._at, self._text.startswith("[[", self._at)
        self._at += 2 if array else 1
        *outer, last = self._dotted()
        self._at += 2 if array else 1
        path: Path = ()
        for part in outer:
            path = (*path, part)
            self._note(path, start)
            path = self._newest(path)
        path = (*path, last)
        self._note(path, start)
        if array:
            self._counts[path] = self._counts.get(path, 0) + 1
            path = self._newest(path)
            self._note(path, start)
        return path

    def _newest(self, path: Path) -> Path:
        """Return the path with the last item added, if it is an array of tables: ``[a.b]`` is in the last ``[[a]]``."""
        return (*path, self._counts[path] - 1) if path in self._counts else path

    def _pair(self, table: Path) -> None:
        start, path = self._at, table
        for part in self._dotted():
            path = (*path, part)
            self._note(path, start)
        self._at += len("=")
        self._value(path)

    def _dotted(self) -> list[str]:
        """Read a key with its dots, and stop at what follows it."""
        parts: list[str] = []
        while True:
            self._peek()
            if quoted := _STRING.match(self._text, self._at):
                self._at = quoted.end()
                parts += tomllib.loads(f"{quoted[0]}=0")
            else:
                parts.append(self._take(_BARE))
            if self._peek() != ".":
                return parts
            self._at += len(".")

    def _value(self, path: Path) -> None:
        first = self._peek()
        if first == "[":
            self._at += 1
            index = 0
            while self._peek() != "]":
                self._note((*path, index), self._at)
                self._value((*path, index))
                self._comma()
                index += 1
            self._at += 1
        elif first == "{":
            self._at += 1
            while self._peek() != "}":
                self._pair(path)
                self._comma()
            self._at += 1
        elif string := _STRING.match(self._text, self._at):
            self._at = string.end()
        else:
            self._take(_SCALAR)

    def _comma(self) -> None:
        if self._peek() == ",":
            self._at += 1

    def _peek(self) -> str:
        """Skip blanks and comments; return the next character, empty at the end."""
        self._take(_SPACE)
        return self._text[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        assert found, "lines_of takes only what tomllib has accepted"
        self._at = found.end()
        return found[0]

    def _note(self, path: Path, offset: int) -> None:
        self.lines.setdefault(path, bisect_right(self._starts, offset))
