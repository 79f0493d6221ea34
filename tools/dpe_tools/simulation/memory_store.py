"""A store in memory behind the store's contract: the rules are the server's own (``commit_rules``), the disk is a list.

What is durable is in a ``Disk``, which outlives the process and which any number of stores may have open. A commit is
prepared write by write, and takes effect at once in the end; ``point`` is called before the commit and before each
write, and may raise.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from dpe_server.store.changes import Changes, Noted, Row, Standing, read, without_overtaken
from dpe_server.store.commit_rules import Accepted, InSession, Registered, accept, check_beat, decide, steps
from dpe_server.store.contract import (
    BEATS,
    COMMIT_PATIENCE,
    NOBODY,
    PRUNE_CHUNK,
    RECOVERY_GAP,
    Beat,
    Change,
    Contact,
    Deregister,
    End,
    Expired,
    Forget,
    Measure,
    Outcome,
    OverridePolicies,
    RestrictEpoch,
    Revoke,
    Session,
    SetMinimumEpoch,
    Stats,
    Unrevoke,
)
from dpe_server.store.listing import Listed, Wanted, fits
from dpe_server.store.questions import Confirmed, Context, Facts, Questions, Restriction

_NOBODYS = Confirmed(bytes(32), None, b"")
_NO_CONTEXT = Context(0, False, bytes(16), 0, None, None, None, "", 0, b"", None)


class Trace(NamedTuple):
    """What is left of an ended session."""

    device: bytes
    ordinal: int
    ended_at: int
    client_id: int | None = None
    success_hash: bytes = b""


@dataclass
class Disk:
    """What is durable. Nothing here prevents two sessions with one Client ID: the invariants must see that."""

    sessions: tuple[Session, ...] = ()
    traces: dict[bytes, Trace] = field(default_factory=dict)
    """By device."""
    restrictions: dict[bytes, Restriction] = field(default_factory=lambda: {NOBODY: Restriction()})
    revoked_at: dict[bytes, int] = field(default_factory=dict)
    attempts: dict[int, bytes] = field(default_factory=dict)
    """By Client ID, the attempt that raised the mark."""
    policies: dict[bytes, bytes] = field(default_factory=dict)
    """By device, what an operator has it report."""
    minimum_epoch: int = 0
    numbers: int = 0
    """The last number of a batch of REQUESTs."""
    last_ordinal: int = 0
    beats: tuple[Beat, ...] = ()
    changes: tuple[Row, ...] = ()
    changed_last: dict[int, int] = field(default_factory=dict)
    """By Client ID, the number of a session's last change."""
    history: int = 0
    dropped: int = 0


class MemoryStore:
    """A ``Store`` on ``disk``, whose machine has the time ``clock`` (Unix seconds).

    ``begun_with`` are the devices that were revoked when its commit was begun, if that was earlier; nothing must go by
    that.
    """

    remote = False  # see ``Store.remote``

    def __init__(
        self,
        disk: Disk,
        point: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
        begun_with: AbstractSet[bytes] | None = None,
    ) -> None:
        self._disk = disk
        self._point = point
        self._clock = clock
        self._begun_with = begun_with

    def wall(self) -> float:
        """See ``Store.wall``."""
        return self._clock()

    def look(self, questions: Questions) -> Facts:
        """See ``Store.look``."""
        disk, asked = self._disk, questions
        facts = Facts()
        if asked.restrictions:
            facts.minimum_epoch = disk.minimum_epoch
            laid = disk.restrictions.keys() | disk.policies.keys()
            facts.restrictions = {d: disk.restrictions.get(d, Restriction()) for d in asked.restrictions & laid}
        if asked.client_ids_of:
            facts.client_ids_of = {s.device: s.client_id for s in disk.sessions if s.device in asked.client_ids_of}
        if asked.holders:
            facts.holders = {s.client_id: s.device for s in disk.sessions if s.client_id in asked.holders}
        if asked.number:
            disk.numbers += 1
            facts.number = disk.numbers
        for first, last in asked.in_use:
            facts.in_use[first, last] = {s.client_id for s in disk.sessions if first <= s.client_id <= last}
        if asked.confirmed:
            found = {s.client_id: s for s in disk.sessions if s.client_id in asked.confirmed}
            facts.confirmed = dict.fromkeys(asked.confirmed, _NOBODYS) | {
                client_id: Confirmed(s.success_hash, s.expires_at, s.confirm) for client_id, s in found.items()
            }
        if asked.contexts:
            facts.contexts = dict.fromkeys(asked.contexts, _NO_CONTEXT)
            for s in disk.sessions:
                if s.client_id in asked.contexts:
                    facts.contexts[s.client_id] = Context(
                        client_id=s.client_id,
                        found=True,
                        device=s.device,
                        ordinal=s.ordinal,
                        mark=s.mark,
                        expires_at=s.expires_at,
                        lifetime=s.lifetime,
                        rule=s.rule,
                        sealed_for=s.client_id,
                        sealed_keys=s.sealed_keys,
                        policies=disk.policies.get(s.device),
                    )
        return facts

    def commit(self, changes: Sequence[Change], *, patience: float = COMMIT_PATIENCE) -> list[Outcome]:
        """See ``Store.commit``; there is nobody to wait for."""
        self._point("before the commit")
        disk = self._copy()
        outcomes: list[Outcome] = []
        noted = Noted()
        for step in steps(changes):
            match step:
                case Registered(sessions):
                    outcomes += self._establish(disk, sessions, noted)
                case Accepted(requests):
                    outcomes += self._accept(disk, requests, noted)
                case measure:
                    self._point("write")
                    outcomes.append(_apply(disk, measure, noted))
        self._note(disk, noted)
        vars(self._disk).update(vars(disk))
        return outcomes

    def last_ordinal(self) -> int:
        """See ``Store.last_ordinal``."""
        return self._disk.last_ordinal

    def expire(self, now: int) -> list[Expired]:
        """See ``Store.expire``."""
        over = [s for s in self._disk.sessions if s.expires_at is not None and s.expires_at <= now][:PRUNE_CHUNK]
        noted = Noted()
        for session in over:
            _end(self._disk, session, now, noted)
        self._note(self._disk, noted)
        return [Expired(session.client_id, session.device, session.ordinal) for session in over]

    def prune(self, before: int) -> int:
        """See ``Store.prune``."""
        gone = [trace.device for trace in self._disk.traces.values() if trace.ended_at < before][:PRUNE_CHUNK]
        for device in gone:
            del self._disk.traces[device]
        return len(gone)

    def drop_changes(self, after: int, before: int) -> int | None:
        """See ``Store.drop_changes``; all at once."""
        disk = self._disk
        *others, newest = disk.changes or (None,)
        kept = [without_overtaken(row, disk.changed_last) for row in others if row and row.at >= before]
        disk.dropped = max([disk.dropped, *(row.number for row in others if row and row.at < before)])
        if newest:
            disk.changes = (*(row for row in kept if row.changed or row.ended), newest)
        return None

    def prepare_purge(self) -> None:
        """See ``Store.prepare_purge``; there is nothing to prepare."""

    def purge(self) -> bool:
        """See ``Store.purge``; nothing is left anywhere."""
        return True

    def beat(self, remembered: Beat | None, random: bytes) -> Beat:
        """See ``Store.beat``."""
        beats = self._disk.beats
        found = next((beat.random for beat in beats if remembered and beat.number == remembered.number), None)
        check_beat(remembered, found, beats[0].number if beats else None)
        return self.beat_anew(0, random)

    def close(self) -> None:
        """See ``Store.close``."""

    def session(self, client_id: int) -> Session | None:
        """See ``Store.session``."""
        return next((session for session in self._disk.sessions if session.client_id == client_id), None)

    def session_of(self, device: bytes) -> Session | None:
        """See ``Store.session_of``."""
        return next((session for session in self._disk.sessions if session.device == device), None)

    def live(self, now: int) -> Iterator[Session]:
        """See ``Store.live``."""
        live = (session for session in self._disk.sessions if session.expires_at is None or session.expires_at > now)
        yield from sorted(live, key=lambda session: session.client_id)

    def listed(self, wanted: Wanted, now: int) -> Iterator[Listed]:
        """See ``Store.listed``."""
        return (one for one in map(_listed, self.live(now)) if fits(one, wanted))

    def next_listed(self, after: int, most: int) -> list[Listed]:
        """See ``Store.next_listed``."""
        found = sorted(map(_listed, self._disk.sessions), key=lambda session: session.client_id)
        return [one for one in found if one.client_id > after][:most]

    def count(self, wanted: Wanted, now: int) -> int:
        """See ``Store.count``."""
        return sum(1 for _ in self.listed(wanted, now))

    def standing(self) -> Standing:
        """See ``Store.standing``."""
        return Standing(self._disk.history.to_bytes(8, "big"), _newest(self._disk), self._disk.dropped)

    def changes(self, after: int, most: int) -> list[Changes]:
        """See ``Store.changes``."""
        rows = [row for row in self._disk.changes if row.number > after][:most]
        return read(rows, {session.client_id: session.record for session in self._disk.sessions})

    def stats(self, now: int) -> Stats:
        """See ``Store.stats``."""
        live = sum(1 for _ in self.live(now))
        revoked = sum(restriction.revoked for restriction in self._disk.restrictions.values())
        return Stats(live, len(self._disk.sessions) + len(self._disk.traces) - live, revoked)

    def measures(self) -> Iterator[Measure]:
        """See ``Store.measures``."""
        for device in sorted(self._disk.restrictions.keys() | self._disk.policies.keys()):
            laid = self._disk.restrictions.get(device, Restriction())
            if laid.revoked:
                yield Revoke(device, self._disk.revoked_at[device])
            if laid.minimum_epoch:
                yield RestrictEpoch(device, laid.minimum_epoch)
            if device in self._disk.policies:
                yield OverridePolicies(device, self._disk.policies[device])
        if self._disk.minimum_epoch:
            yield SetMinimumEpoch(self._disk.minimum_epoch)

    def recover(self, measures: Iterable[Measure], at: int) -> int:
        """See ``Store.recover``."""
        disk = self._copy()
        for session in disk.sessions:
            _end(disk, session, at, Noted())
        disk.last_ordinal += RECOVERY_GAP
        disk.history += 1
        disk.changes = disk.changes[-1:]
        for measure in measures:
            _apply(disk, measure, Noted())
        ended = len(self._disk.sessions)
        vars(self._disk).update(vars(disk))
        return ended

    def beat_anew(self, after: int, random: bytes) -> Beat:
        """See ``Store.beat_anew``."""
        beats = self._disk.beats
        beat = Beat(max(after, beats[-1].number if beats else 0) + 1, random)
        self._disk.beats = tuple(old for old in (*beats, beat) if old.number > beat.number - BEATS)
        return beat

    def _copy(self) -> Disk:
        disk = self._disk
        return replace(
            disk,
            restrictions=dict(disk.restrictions),
            traces=dict(disk.traces),
            attempts=dict(disk.attempts),
            policies=dict(disk.policies),
            changed_last=dict(disk.changed_last),
        )

    def _note(self, disk: Disk, noted: Noted) -> None:
        if noted:
            changed, ended = tuple(noted.changed), tuple(noted.ended)
            disk.changes = (*disk.changes, Row(_newest(disk) + 1, int(self._clock()), changed, ended))

    def _establish(self, disk: Disk, sessions: Sequence[Session], noted: Noted) -> list[Outcome]:
        revoked = self._revoked(disk)
        effect = decide(sessions, (*disk.sessions, *disk.traces.values()), revoked)
        for _ in effect.ended:
            self._point("write")
        noted.ended += effect.replaced
        for client_id in effect.replaced:
            disk.changed_last.pop(client_id, None)
        ended = set(effect.ended)
        kept = {session.device: session for session in disk.sessions if session.client_id not in ended}
        for started in effect.started:
            self._point("write")
            kept[started.device] = started
            disk.traces.pop(started.device, None)
        disk.sessions = tuple(kept.values())
        disk.last_ordinal = max([disk.last_ordinal, *(session.ordinal for session in effect.started)])
        return effect.outcomes

    def _revoked(self, disk: Disk) -> set[bytes]:
        return {device for device, laid in disk.restrictions.items() if laid.revoked}

    def _accept(self, disk: Disk, requests: Sequence[Contact | Deregister], noted: Noted) -> list[Outcome]:
        asked = {request.client_id for request in requests}
        sessions = {s.client_id: s for s in disk.sessions if s.client_id in asked}
        stored = (
            InSession(
                client_id=s.client_id,
                ordinal=s.ordinal,
                mark=s.mark,
                attempt=disk.attempts.get(s.client_id),
                seen_at=s.seen_at,
                lifetime=s.lifetime,
                expires_at=s.expires_at,
                record=s.record,
            )
            for s in sessions.values()
        )
        now = int(self._clock())
        effect = accept(requests, stored, now)
        for client_id in effect.ended:
            self._point("write")
            _end(disk, sessions[client_id], now, noted)
        for row in effect.changed:
            self._point("write")
            before = sessions[row.client_id]
            kept = {name: getattr(row, name) for name in ("mark", "seen_at", "lifetime", "expires_at", "record")}
            disk.sessions = tuple(replace(s, **kept) if s is before else s for s in disk.sessions)
            disk.attempts[row.client_id] = row.attempt or b""
            if row.record != before.record:
                noted.changed[row.client_id] = None
                disk.changed_last[row.client_id] = _newest(disk) + 1
        return effect.outcomes


def _listed(session: Session) -> Listed:
    told = {name: getattr(session, name) for name in Listed._fields if not name.startswith("version")}
    return Listed(**told, version_major=session.version.major, version_minor=session.version.minor)


def _newest(disk: Disk) -> int:
    return disk.changes[-1].number if disk.changes else 0


def _apply(disk: Disk, measure: Measure, noted: Noted) -> Outcome:
    def lay(device: bytes, **changed: bool | int) -> None:
        laid = disk.restrictions.get(device, Restriction())._replace(**changed)  # type: ignore[arg-type]
        disk.restrictions[device] = laid
        if laid == Restriction() and device != NOBODY:
            del disk.restrictions[device]

    laid = disk.restrictions.get(measure.device, Restriction()) if not isinstance(measure, SetMinimumEpoch) else None
    match measure:
        case Revoke(device, at):
            if not (laid and laid.revoked):
                disk.revoked_at = {**disk.revoked_at, device: at}
            lay(device, revoked=True)
            return Outcome.SESSION_ENDED if _end_of(disk, device, at, noted) else Outcome.COMMITTED
        case Unrevoke(device):
            lay(device, revoked=False)
            return Outcome.COMMITTED if laid and laid.revoked else Outcome.UNCHANGED
        case End(device, at):
            return Outcome.SESSION_ENDED if _end_of(disk, device, at, noted) else Outcome.UNCHANGED
        case Forget(device, at):
            lay(device, minimum_epoch=0)
            overridden = disk.policies.pop(device, None) is not None
            if _end_of(disk, device, at, noted):
                return Outcome.SESSION_ENDED
            if (trace := disk.traces.get(device)) is not None:
                disk.traces[device] = trace._replace(ended_at=min(trace.ended_at, at))
            return Outcome.COMMITTED if trace or overridden or (laid and laid.minimum_epoch) else Outcome.UNCHANGED
        case RestrictEpoch(device, epoch):
            lay(device, minimum_epoch=epoch)
        case SetMinimumEpoch(epoch):
            disk.minimum_epoch = epoch
        case OverridePolicies(device, None):
            return Outcome.UNCHANGED if disk.policies.pop(device, None) is None else Outcome.COMMITTED
        case OverridePolicies(device, policies):  # pragma: no branch  # a measure is one of these seven
            disk.policies[device] = policies or b""
    return Outcome.COMMITTED


def _end_of(disk: Disk, device: bytes, at: int, noted: Noted) -> bool:
    """End the session of a device; say whether it had one."""
    found = [session for session in disk.sessions if session.device == device]
    for session in found:
        _end(disk, session, at, noted)
    return bool(found)


def _end(disk: Disk, session: Session, at: int, noted: Noted) -> None:
    noted.ended.append(session.client_id)
    disk.changed_last.pop(session.client_id, None)
    disk.sessions = tuple(other for other in disk.sessions if other is not session)
    disk.traces[session.device] = Trace(session.device, session.ordinal, at)
    disk.attempts.pop(session.client_id, None)
