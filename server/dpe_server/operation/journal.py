"""The operators' journal, operators.jsonl: what operators have imposed on devices, for the day a backup is put back.

A restored database knows nothing of what came after the backup, so a stolen device could register again. Every act is
on the disk here before the database changes, and ``dpe recover`` repeats all acts in their order. So the journal is
never rotated or shortened. Devices are named by their keyed hash.

One JSON object on each line: ``at`` (Unix seconds), ``act``, and what the act needs.
"""

import heapq
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from typing import Any

from dpe_coap.errors import LocalError
from dpe_server.files import durable
from dpe_server.operation.locking import PATIENCE, locked
from dpe_server.store.contract import (
    OPERATOR_PATIENCE,
    End,
    Forget,
    Measure,
    Outcome,
    OverridePolicies,
    RestrictEpoch,
    Revoke,
    SetMinimumEpoch,
    Store,
    Unrevoke,
)

NAME = "operators.jsonl"
NOTHING = sha256(b"").hexdigest()
"""The digest of a journal in which nothing is."""

_ACTS: dict[str, type[Measure]] = {
    "revoke": Revoke,
    "unrevoke": Unrevoke,
    "end": End,
    "forget": Forget,
    "restrict-epoch": RestrictEpoch,
    "minimum-epoch": SetMinimumEpoch,
    "override-policies": OverridePolicies,
}
_NAMES = {measure: name for name, measure in _ACTS.items()}
_FIELDS = {"device": "device", "at": "since", "minimum_epoch": "minimum_epoch", "policies": "policies"}
"""What the journal calls a field of a measure."""
_NUMBERS = ("at", "minimum_epoch")


class JournalError(LocalError):
    """The journal is missing, cannot be written, or holds what no journal holds."""


def enact(path: Path, store: Store, measures: Sequence[Measure]) -> list[Outcome]:
    """Do what an operator wants: write ``measures`` durably into the journal ``path``, then commit them.

    Returns what became of each, in order. JournalError: nothing has happened. StoreError: the store is unchanged, but
    the measures stand in the journal; so repeat the act.
    """
    if not measures:
        return []
    with _open(path) as descriptor:  # until the commit: the acts of two commands have one order in both places
        try:
            _append(descriptor, measures)
        except OSError as error:
            raise _failed(path, error) from None
        return store.commit(measures, patience=OPERATOR_PATIENCE)


def begin(path: Path, measures: Iterable[Measure] = ()) -> None:
    """Make a new journal (mode 0600) that holds ``measures``, on the disk when this returns.

    JournalError if there is one. Nobody else may begin one meanwhile.
    """
    check(path, there=False)
    at = int(time.time())
    try:
        durable.replace(path, "".join(_text(measure, at) for measure in measures))
    except OSError as error:
        raise _failed(path, error) from None


def check(path: Path, *, there: bool) -> None:
    """JournalError unless the journal is there, or is not, as it should be."""
    if there and not path.exists():
        raise _missing(path)
    if not there and path.exists():
        raise JournalError(f"{path} is there already", hint="move it away, or go on with it")


def digest(path: Path) -> str:
    """Return a hash of all that a journal says, in hex; JournalError."""
    try:
        return sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise _failed(path, error) from None


def read(paths: Iterable[Path]) -> Iterator[Measure]:
    """Yield the measures of several journals as if they were one, in the order of their times.

    JournalError names the line that cannot be read. A last line without an end does not count: its act never was.
    """
    yield from map(itemgetter(1), heapq.merge(*map(_read, paths), key=itemgetter(0)))


def _read(path: Path) -> Iterator[tuple[int, Measure]]:
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            latest = 0
            for number, line in enumerate(lines, 1):
                if not line.endswith("\n"):
                    return
                try:
                    at, measure = _parse(json.loads(line))
                except (ValueError, KeyError, TypeError):
                    raise JournalError(
                        f"{path}:{number}: not a line of a journal", hint="restore the file from a copy"
                    ) from None
                latest = max(latest, at)  # the order of the lines counts, whatever the clock said
                yield latest, measure
    except FileNotFoundError:
        raise _missing(path) from None
    except UnicodeDecodeError:
        raise JournalError(f"{path}: not UTF-8 text", hint="restore the file from a copy") from None
    except OSError as error:
        raise _failed(path, error) from None


def _parse(line: dict[str, Any]) -> tuple[int, Measure]:
    at, kind = line.pop("at"), _ACTS[line.pop("act")]
    given = {field: line.pop(_FIELDS[field]) for field in kind._fields}
    for name in ("device", "policies"):
        if given.get(name) is not None:
            given[name] = bytes.fromhex(given[name])
    if (
        line
        or len(given.get("device", bytes(16))) != 16
        or any(type(value) is not int for name, value in (("at", at), *given.items()) if name in _NUMBERS)
        or not 0 <= given.get("minimum_epoch", 0) <= 255
    ):
        raise ValueError
    return at, kind(**given)


def _text(measure: Measure, at: int) -> str:
    told = {
        _FIELDS[name]: value.hex() if isinstance(value, bytes) else value for name, value in measure._asdict().items()
    }
    return json.dumps({"at": at, "act": _NAMES[type(measure)]} | told) + "\n"


def _append(descriptor: int, measures: Iterable[Measure]) -> None:
    """Write measures after the last whole line, durably."""
    start = end = _end_of_lines(descriptor)
    at = int(time.time())
    data = "".join(_text(measure, at) for measure in measures).encode()
    os.ftruncate(descriptor, start)
    try:
        while data:
            written = os.pwrite(descriptor, data, end)
            data, end = data[written:], end + written
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, start)  # none of them was
        raise


def _end_of_lines(descriptor: int) -> int:
    """Return where the last whole line ends: a power cut may have left a part of another."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - 4096)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


@contextmanager
def _open(path: Path) -> Iterator[int]:
    """Open a journal that is there, for one process at a time."""
    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(locked(path, os.O_RDWR, patience=PATIENCE))
        except FileNotFoundError:
            raise _missing(path) from None
        except OSError as error:
            raise _failed(path, error) from None
        yield descriptor


def _missing(path: Path) -> JournalError:
    return JournalError(
        f"{path} is missing: without it, a backup that is put back lets revoked devices in again",
        hint="put it back from a copy; if there is none, begin a new one: dpe recover STATE --new-journal",
    )


def _failed(path: Path, error: OSError) -> JournalError:
    return JournalError(f"{path}: {error.strerror}", hint="check the disk, and who owns the file")
