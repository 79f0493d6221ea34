"""The tables of a TOML file, read strictly: every fault is found, with its line, its key and what was expected."""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar

from dpe_coap.errors import LocalError
from dpe_server.files.pages import page
from dpe_server.files.shown import shown_key
from dpe_server.files.toml_lines import Path, lines_of
from dpe_server.policy.fields import BadValue

_NONE: Mapping[str, str] = {}

T = TypeVar("T")


class Fault(NamedTuple):
    """One thing that is wrong: the line, from 1, and the key, each None where there is no such place."""

    line: int | None
    key: str | None
    message: str


class PolicyError(LocalError):
    """A policy file that cannot be used: ``faults`` in the order of their lines, ``line`` and ``key`` of the first.

    ``report`` has a line of text for each fault, as in ``policy.toml:7: range: expected ...``.
    """

    def __init__(self, source: str, faults: Sequence[Fault], *, hint: str | None = None) -> None:
        self.faults = tuple(faults)
        self.line, self.key, _ = self.faults[0]
        self.report = [
            ": ".join([source if line is None else f"{source}:{line}", *([] if key is None else [key]), message])
            for line, key, message in self.faults
        ]
        more = len(self.faults) - 1
        text = self.report[0] + (f" (and {more} more fault{'s' * (more > 1)})" if more else "")
        super().__init__(text, hint=f"{page('docs/how-to/policy.md')} explains every key" if hint is None else hint)


class Tables:
    """The tables of a document, and the faults that were found in them. ``source`` names it in the PolicyError."""

    def __init__(self, text: str, source: str) -> None:
        """PolicyError: ``text`` is not TOML."""
        self.faults: list[Fault] = []
        self._source = source
        try:
            self.document = tomllib.loads(text)
            self.lines = lines_of(text)
        except tomllib.TOMLDecodeError as error:
            raise PolicyError(source, [_syntax_fault(str(error), text)]) from None
        except (RecursionError, ValueError):
            fault = Fault(None, None, "not TOML: nested too deeply, or a number too long")
            raise PolicyError(source, [fault]) from None

    @classmethod
    def of(cls, document: dict[str, Any], source: str) -> "Tables":
        """Take tables that were read from JSON: no fault of theirs has a line."""
        made = cls("", source)
        made.document = document
        return made

    def check(self) -> None:
        """Raise PolicyError if there are faults."""
        if self.faults:
            raise PolicyError(self._source, sorted(self.faults, key=lambda fault: fault.line or 0))

    def unknown(
        self, path: Path, table: Mapping[str, Any], known: Sequence[str], old: Mapping[str, str] = _NONE
    ) -> None:
        """Note the keys that are not ``known``; ``old`` says what to write in place of a key of earlier versions."""
        for key in (key for key in table if key not in known):
            near = get_close_matches(key, known, n=1)
            expected = f'did you mean "{near[0]}"?' if near else "known are " + ", ".join(known)
            self.fault((*path, key), old.get(key, f"unknown key; {expected}"))

    def get(self, path: Path, table: Mapping[str, Any], key: str, take: Callable[[object], T]) -> T | None:
        """Return what ``take`` makes of a key's value; None when there is no such key, or it has a fault."""
        if key in table:
            try:
                return take(table[key])
            except BadValue as bad:
                self.fault((*path, key, *bad.within), str(bad))
        return None

    def fault(self, path: Path, message: str) -> None:
        """Note a fault at ``path`` or, where the file has nothing there, at what is around it."""
        around = (path[:n] for n in range(len(path), 0, -1))
        line = next((self.lines[place] for place in around if place in self.lines), None)
        names = [part for part in path if isinstance(part, str)]
        key = ".".join(names[1:] if len(names) > 1 and names[0] == "rule" else names)
        self.faults.append(Fault(line, shown_key(key), message))


def _syntax_fault(message: str, text: str) -> Fault:
    place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)", message)
    if place is None:
        return Fault(None, None, f"not TOML: {message}")
    line = int(place[1]) if place[1] else text.rstrip("\n").count("\n") + 1
    return Fault(line, None, f"not TOML: {message[: place.start()]}")
