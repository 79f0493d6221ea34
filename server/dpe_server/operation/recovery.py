"""A backup that is put back, or a database of which nobody knows what it has lost, made fit to serve again.

Both are the same: a copy is made beside the database, recovered there, and put in its place in the end. So what fails
half-way has changed nothing. Nothing that a copy says of sessions can be believed; what operators have imposed comes
back from their journal.
"""

import secrets
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from dpe_coap.errors import LocalError
from dpe_server.keys.at_rest import AtRestError
from dpe_server.operation import beats, journal
from dpe_server.operation.beats import BeatsError, Memory
from dpe_server.operation.nodes import SILENT
from dpe_server.operation.state_dir import StateDir
from dpe_server.store import opening
from dpe_server.store.contract import (
    RECOVERY_GAP,
    ForgottenError,
    ReplacedError,
    RestrictEpoch,
    Revoke,
    SetMinimumEpoch,
    Store,
)


class RecoveryError(LocalError):
    """What was to be recovered is not what it should be."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery has done."""

    made_at: int | None
    """When the backup was made, in Unix seconds; None: it does not say."""
    sessions: int
    """How many were ended."""
    revoked: int
    """Devices that the copy did not know to be revoked."""
    lifted: int
    """Devices whose revocation had been lifted since."""
    epochs: int
    """Minimum epochs, of devices or of all, that were others in the copy."""
    nodes: int = 1
    """How many servers share the store. Each has a journal of its own."""


@dataclass(slots=True)
class _Imposed:
    """What operators have imposed, by device."""

    revoked: set[bytes]
    epochs: dict[bytes | None, int]
    """Under None, of all devices."""

    @classmethod
    def of(cls, store: Store) -> "_Imposed":
        found = cls(set(), {})
        for measure in store.measures():
            match measure:
                case Revoke(device, _):
                    found.revoked.add(device)
                case RestrictEpoch(device, epoch):
                    found.epochs[device] = epoch
                case SetMinimumEpoch(epoch):
                    found.epochs[None] = epoch
        return found


def back_up(state_dir: StateDir, copy: Path) -> None:
    """Make a copy of the database that says in itself that it is one; the server may run. StoreError."""
    opening.back_up(state_dir.store_url, copy)


def restore(state_dir: StateDir, copy: Path, *, journals: Sequence[Path] = (), new_journal: bool = False) -> Recovered:
    """Put a copy in the place of the database, and recover it. The server must be stopped.

    ``journals`` are those of other servers on the same database. With ``new_journal``, the journal of this one is lost,
    and a new one begins with what holds. Raises a DpeError: then the database is as it was.
    """
    if state_dir.config.store:
        raise RecoveryError(
            "the store of this server is in PostgreSQL, where dpe backup and dpe restore do not reach",
            hint=f"put the database back with PostgreSQL's own tools, and then: dpe recover {state_dir.path}",
        )
    with state_dir.lock():
        return _recover(state_dir, copy, journals, new_journal)


def recover(state_dir: StateDir, *, journals: Sequence[Path] = (), new_journal: bool = False) -> Recovered:
    """Recover the database that is in its place. See ``restore``.

    A shared one is recovered once, at one node, while no server of the others runs.
    """
    with state_dir.lock():
        if state_dir.config.store:
            return _recover_shared(state_dir, journals, new_journal)
        opening.check_log(state_dir.store_url, _memory(state_dir).settled)
        return _recover(state_dir, state_dir.store_path, journals, new_journal)


def keep_sessions(state_dir: StateDir) -> None:
    """Take the database for the newest that there is, where the state directory remembers less than it: nothing ends.

    RecoveryError where it remembers more, or the same.
    """
    with state_dir.lock():
        memory = _memory(state_dir)
        if state_dir.config.store and beats.recovered_since(state_dir, memory) is not None:
            raise RecoveryError(
                "the database was recovered at another node already, with what operators did here",
                hint=f"dpe serve {state_dir.path}",
            )
        try:
            opening.verify(
                state_dir.store_url,
                memory.last,
                memory.settled,
                one_machine=state_dir.one_machine,
                binding=state_dir.binding,
            )
        except ForgottenError:
            with closing(state_dir.make_store()) as store:
                _remember(state_dir, store, memory)
        except ReplacedError as error:
            raise RecoveryError(f"{error}: its sessions cannot be kept", hint=f"dpe recover {state_dir.path}") from None
        else:
            raise RecoveryError(
                "the database is as this server left it: there is nothing to recover",
                hint=f"dpe serve {state_dir.path}",
            )


def _recover(state_dir: StateDir, copy: Path, journals: Sequence[Path], new_journal: bool) -> Recovered:
    own = state_dir.journal_path
    journal.check(own, there=not new_journal)
    read = journals if new_journal else (own, *journals)
    new = f"{state_dir.store_url}.new"
    try:
        told = opening.take_copy(copy, new)
        with closing(opening.make_store(new)) as store:
            _check_key(state_dir, store)
            before = _Imposed.of(store)
            sessions = store.recover(journal.read(read), int(time.time()))
            after = _Imposed.of(store)
            beat = store.beat_anew(_number(_memory(state_dir)), secrets.token_bytes(8))
            store.purge()
            if new_journal:
                journal.begin(own, store.measures())
        opening.put_in_place(new, state_dir.store_url)
        beats.remember(state_dir.beat_path, Memory(beat, beat))
    except OSError as error:
        raise RecoveryError(f"{error.filename or state_dir.path}: {error.strerror}", hint="check the disk") from None
    finally:
        opening.remove(new)
    return _done(told.made_at, sessions, before, after)


def _done(made_at: int | None, sessions: int, before: _Imposed, after: _Imposed) -> Recovered:
    return Recovered(
        made_at=made_at,
        sessions=sessions,
        revoked=len(after.revoked - before.revoked),
        lifted=len(before.revoked - after.revoked),
        epochs=len(after.epochs.items() ^ before.epochs.items()),
    )


def _recover_shared(state_dir: StateDir, journals: Sequence[Path], new_journal: bool) -> Recovered:
    own = state_dir.journal_path
    journal.check(own, there=not new_journal)
    read = journals if new_journal else (own, *journals)
    try:
        with closing(state_dir.make_store()) as store:
            nodes = opening.nodes_of(store)
            assert nodes is not None
            if running := [node.name for node in nodes.all() if node.silent is not None and node.silent <= SILENT]:
                raise RecoveryError(
                    f"other servers of this database run: {', '.join(running)}", hint="stop them all, and try again"
                )
            count = len(nodes.all())
            before = _Imposed.of(store)
            digests = {journal.NOTHING, *map(journal.digest, read)}
            sessions = store.recover(journal.read(read), int(time.time()))
            after = _Imposed.of(store)
            # Other nodes may have gone further than this one. They must see that it was recovered since.
            beat = store.beat_anew(_number(_memory(state_dir)) + RECOVERY_GAP, secrets.token_bytes(8))
            if new_journal:
                journal.begin(own, store.measures())
                digests.add(journal.digest(own))
            nodes.recovered(beat, digests)
        beats.remember(state_dir.beat_path, Memory(beat))
    except OSError as error:
        raise RecoveryError(f"{error.filename or state_dir.path}: {error.strerror}", hint="check the disk") from None
    return replace(_done(None, sessions, before, after), nodes=count)


def _check_key(state_dir: StateDir, store: Store) -> None:
    """Raise RecoveryError if the store was not made with the at-rest key of the state directory."""
    for session in store.live(0):
        try:
            state_dir.at_rest.open_imei(session.sealed_imei, session.device)
        except AtRestError:
            raise RecoveryError(
                "the copy is of another server: its values do not open with the at-rest key of keys.json",
                hint="give a backup of this server, or put back the keys.json that belongs to it",
            ) from None
        return


def _memory(state_dir: StateDir) -> Memory:
    """Return what is remembered of beats; nothing, where that cannot be read."""
    try:
        return beats.remembered(state_dir.beat_path)
    except BeatsError:
        return Memory()


def _number(memory: Memory) -> int:
    return memory.last.number if memory.last else 0


def _remember(state_dir: StateDir, store: Store, memory: Memory) -> None:
    beat = store.beat_anew(_number(memory), secrets.token_bytes(8))
    beats.remember(state_dir.beat_path, Memory(beat, beat if store.purge() else None))
