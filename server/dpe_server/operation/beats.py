"""Whether the store is the one that this server left: beat.json remembers the last beat (docs/how-to/operate.md).

A database that was put back, or that has lost what it had acknowledged, would let revoked devices in and forget devices
that believe in their sessions. So a server that does not find its last beat serves nothing.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from dpe_coap.errors import LocalError
from dpe_server.files import durable
from dpe_server.operation import journal
from dpe_server.operation.journal import JournalError
from dpe_server.operation.state_dir import StateDir
from dpe_server.store import opening
from dpe_server.store.contract import (
    Beat,
    ForgottenError,
    MixedError,
    ReplacedError,
    Store,
    StoreError,
)

_log = structlog.get_logger(__name__)


class BeatsError(LocalError):
    """The store is not the one that this server left, or what it remembers cannot be read."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What beat.json says; nothing before the first start."""

    last: Beat | None = None
    """The last beat of this server."""
    settled: Beat | None = None
    """The last beat that is known to be in the database's file itself, and not only in its write-ahead log."""


def remembered(path: Path) -> Memory:
    """Read beat.json; BeatsError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Memory()
    except OSError as error:
        raise BeatsError(f"{path}: {error.strerror}", hint="check who owns the file") from None
    try:
        told = json.loads(text)
        last, settled = _beat(told.pop("last")), _beat(told.pop("settled"))
        if told or last is None:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BeatsError(
            f"{path}: it does not say which beat was the last", hint=f"dpe recover {path.parent}"
        ) from None
    return Memory(last, settled)


def remember(path: Path, memory: Memory) -> None:
    """Write beat.json durably; OSError."""
    told = {"last": _told(memory.last), "settled": _told(memory.settled)}
    durable.replace(path, json.dumps(told) + "\n")


def verify(state_dir: StateDir) -> None:
    """Refuse a store that must not be served, before anything is changed: BeatsError or StoreError.

    A shared store may have been put back, and recovered at another node. If what operators did here is in it, it is
    taken for the one that was left.
    """
    memory = remembered(state_dir.beat_path)
    with _hint(state_dir.path):
        try:
            _verify(state_dir, memory)
        except ReplacedError:
            beat = recovered_since(state_dir, memory) if state_dir.config.store else None
            if beat is None:
                raise
            _verify(state_dir, Memory(beat))


def take_recovered(state_dir: StateDir) -> None:
    """Remember from now on a shared store that was recovered at another node, if ``verify`` accepts it as such."""
    memory = remembered(state_dir.beat_path)
    if state_dir.config.store and (beat := recovered_since(state_dir, memory)) is not None:
        remember(state_dir.beat_path, Memory(beat))
        _log.warning("the database was put back and recovered at another node", beat=beat.number)


def recovered_since(state_dir: StateDir, memory: Memory) -> Beat | None:
    """Return the beat after a recovery of a shared store that is newer than what is remembered, or None.

    BeatsError if what operators did here was not in it.
    """
    after = memory.last.number if memory.last else 0
    with closing(opening.open_nodes(state_dir.store_url, one_machine=state_dir.one_machine)) as nodes:
        if nodes.recovery(after, journal.NOTHING) is None:
            return None
        with suppress(JournalError):  # it is missing
            if (beat := nodes.recovery(after, journal.digest(state_dir.journal_path))) is not None:
                return beat
    raise BeatsError(
        "the database was put back and recovered, without what operators did at this node",
        hint=f"stop all servers, and: dpe recover {state_dir.path} --journal FILE, for the journals of all other nodes",
    )


def _verify(state_dir: StateDir, memory: Memory) -> None:
    opening.verify(
        state_dir.store_url,
        memory.last,
        memory.settled,
        one_machine=state_dir.one_machine,
        binding=state_dir.binding,
    )


def begin_journal(state_dir: StateDir, store: Store) -> None:
    """Make the operators' journal of a state directory of an earlier version, with what holds already."""
    if state_dir.journal_path.exists():
        return
    if remembered(state_dir.beat_path).last is None:
        journal.begin(state_dir.journal_path, store.measures())
    else:
        _log.error("operators' journal missing", path=str(state_dir.journal_path), hint="dpe recover --new-journal")


class Beats:
    """Appends beats to ``store``, and remembers them in the state directory. ``random`` gives strong random bytes."""

    def __init__(self, state_dir: StateDir, store: Store, random: Callable[[int], bytes]) -> None:
        self._state_dir = state_dir
        self._store = store
        self._random = random

    def beat(self) -> None:
        """Append a beat if the last one is in the store; purge the store, and remember the beat.

        BeatsError if this is not the store that was left: serve nothing any more. A beat that cannot be written now, as
        the disk is full or another program writes, is logged: the next one may succeed.
        """
        try:
            self._beat()
        except (StoreError, OSError) as error:
            _log.warning("no beat written", reason=str(error))

    def _beat(self) -> None:
        path = self._state_dir.beat_path
        memory = remembered(path)
        with _hint(self._state_dir.path):
            beat = self._store.beat(memory.last, self._random(8))
        purged = self._store.purge()
        remember(path, Memory(beat, beat if purged else memory.settled))
        if not purged:
            _log.warning("what has ended is not purged: another program reads the database and does not finish")


@contextmanager
def _hint(state: Path) -> Iterator[None]:
    """Say what to run where the store is not the one that was left."""
    try:
        yield
    except ForgottenError as error:
        raise BeatsError(
            str(error),
            hint=f"if nothing newer than this database exists: dpe recover {state} --keep-sessions;"
            f" otherwise: dpe recover {state}",
        ) from None
    except MixedError as error:
        raise BeatsError(str(error), hint=f"restore a backup: dpe restore {state} FILE") from None
    except ReplacedError as error:
        raise BeatsError(
            str(error), hint=f"it was put back, or the disk has lost writes. Run: dpe recover {state}"
        ) from None


def _beat(told: Any) -> Beat | None:
    if told is None:
        return None
    number, random = told
    if type(number) is not int or number < 1 or len(bytes.fromhex(random)) != 8:
        raise ValueError
    return Beat(number, bytes.fromhex(random))


def _told(beat: Beat | None) -> tuple[int, str] | None:
    return None if beat is None else (beat.number, beat.random.hex())
