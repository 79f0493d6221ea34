"""What a commit makes of the sessions of a batch."""

import os
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpe_server.store.commit_rules import decide
from dpe_server.store.contract import Outcome, Session
from dpe_server.store.sqlite.store import SqliteStore
from dpe_tools.simulation.memory_store import Disk, MemoryStore

Make = Callable[..., Session]
Either = SqliteStore | MemoryStore


def test_a_session_comes_back_as_it_was_given(either: Either, make: Make, open_store: Callable[[], Either]) -> None:
    lasting = make(firmware=None, expires_at=None, client_id=bytes(7))
    highest = make(client_id=b"\xff" * 7, ordinal=2**62)
    assert either.commit([lasting, highest]) == [Outcome.COMMITTED] * 2
    for reader in (either, open_store()):
        assert reader.sessions([bytes(7), b"\xff" * 7, b"unknown"]) == {bytes(7): lasting, b"\xff" * 7: highest}
        assert reader.sessions_of([lasting.device, highest.device]) == {
            lasting.device: lasting,
            highest.device: highest,
        }
        assert reader.last_ordinal() == 2**62


def test_an_empty_batch_is_nothing(either: Either) -> None:
    assert either.commit([]) == []
    assert either.last_ordinal() == 0


def test_a_newer_session_replaces_the_older_and_its_profile(either: Either, make: Make) -> None:
    old = make()
    new = make(device=old.device, properties='{"other": null}')
    either.commit([old])
    assert either.commit([new]) == [Outcome.COMMITTED]
    assert either.sessions([old.client_id, new.client_id]) == {new.client_id: new}
    assert either.sessions_of([old.device]) == {old.device: new}
    assert len(list(either.live(-1))) == 1


def test_client_ids_may_go_round_in_a_batch(either: Either, make: Make) -> None:
    """Whoever takes a Client ID that another session of the batch leaves does so after it has left."""
    one, two = make(), make()
    either.commit([one, two])
    free = os.urandom(7)
    newer = [
        make(device=one.device, client_id=free),
        make(device=two.device, client_id=one.client_id),
        make(device=one.device, client_id=two.client_id),
    ]
    assert either.commit(newer) == [Outcome.COMMITTED] * 3
    assert either.sessions_of([one.device, two.device]) == {one.device: newer[2], two.device: newer[1]}
    assert len(list(either.live(-1))) == 2


def test_a_newer_session_may_keep_the_client_id(either: Either, make: Make) -> None:
    old = make()
    new = make(device=old.device, client_id=old.client_id)
    either.commit([old])
    assert either.commit([new]) == [Outcome.COMMITTED]
    assert either.sessions([old.client_id]) == {old.client_id: new}


def test_a_newer_session_replaces_one_that_is_over(either: Either, make: Make, now: int) -> None:
    old = make(expires_at=now - 5)
    new = make(device=old.device)
    either.commit([old])
    assert either.commit([new]) == [Outcome.COMMITTED]
    assert either.sessions_of([old.device]) == {old.device: new}


@pytest.mark.parametrize("difference", [0, -1])
def test_a_session_that_is_not_newer_is_superseded(either: Either, make: Make, difference: int) -> None:
    held = make()
    late = make(device=held.device, ordinal=held.ordinal + difference)
    either.commit([held])
    assert either.commit([late]) == [Outcome.SUPERSEDED]
    assert either.sessions([held.client_id, late.client_id]) == {held.client_id: held}


def test_the_same_success_again_is_committed_again_and_changes_nothing(either: Either, make: Make, now: int) -> None:
    session = make()
    either.commit([session])
    again = replace(session, established_at=now + 9, confirm=b"other", ordinal=session.ordinal + 1)
    assert either.commit([again, session]) == [Outcome.COMMITTED] * 2
    assert either.sessions([session.client_id]) == {session.client_id: session}
    assert either.last_ordinal() == session.ordinal


def test_a_client_id_is_never_of_two_devices(either: Either, make: Make) -> None:
    first = make()
    older = make()
    thief = make(client_id=first.client_id, device=older.device)
    either.commit([first, older])
    assert either.commit([thief, make(client_id=first.client_id)]) == [Outcome.CLIENT_ID_TAKEN] * 2
    assert either.sessions([first.client_id, older.client_id]) == {
        first.client_id: first,
        older.client_id: older,
    }


@pytest.mark.parametrize("life", [0, 90, None])
def test_a_session_that_is_over_keeps_its_client_id_and_older_ones_of_its_device_away(
    either: Either, make: Make, now: int, life: int | None
) -> None:
    """Two workers may offer one Client ID. What the other one's device held is the witness that it registered last."""
    older = make()
    over = make(device=older.device, expires_at=None if life is None else now + life)
    heir = make(client_id=over.client_id, established_at=now + 100)
    late = replace(older, established_at=now + 200)
    for session, outcome in (
        (over, Outcome.COMMITTED),
        (heir, Outcome.CLIENT_ID_TAKEN),
        (late, Outcome.SUPERSEDED),
    ):
        assert either.commit([session]) == [outcome]
    assert either.sessions_of([over.device, heir.device]) == {over.device: over}


def test_the_sessions_of_a_batch_see_each_other_in_order(either: Either, make: Make) -> None:
    first = make()
    second = make(device=first.device)
    heir = make(client_id=first.client_id)
    late = make(device=first.device, ordinal=0)
    assert either.commit([first, second, heir, late, first]) == [
        Outcome.COMMITTED,
        Outcome.COMMITTED,
        Outcome.COMMITTED,
        Outcome.SUPERSEDED,
        Outcome.SUPERSEDED,
    ]
    assert either.sessions_of([first.device, heir.device]) == {first.device: second, heir.device: heir}


def test_the_lowest_ordinal_counts_as_what_it_is(either: Either, make: Make) -> None:
    assert either.commit([make(ordinal=0)]) == [Outcome.COMMITTED]
    assert either.last_ordinal() == 0


def test_two_devices_may_exchange_their_client_ids_within_a_batch(either: Either, make: Make, now: int) -> None:
    a, b = make(), make()
    either.commit([a, b])
    moved = make(device=a.device)
    new_b = make(device=b.device, client_id=a.client_id)
    new_a = make(device=a.device, client_id=b.client_id)
    assert either.commit([moved, new_b, new_a]) == [Outcome.COMMITTED] * 3
    assert either.sessions_of([a.device, b.device]) == {a.device: new_a, b.device: new_b}
    assert either.count(now) == 2


def test_only_what_lasts_is_written(make: Make) -> None:
    first = make()
    second = make(device=first.device)
    heir = make(client_id=second.client_id, device=first.device)
    other = make(client_id=first.client_id)
    verdict = decide([first, second, heir, other], [], set())
    assert verdict.outcomes == [Outcome.COMMITTED] * 4
    assert (verdict.ended, verdict.started) == ([], [heir, other])


def test_a_revoked_device_gets_no_session(either: Either, make: Make, now: int) -> None:
    session = make()
    either.commit([session])
    assert either.revoke(session.device, now)
    newer = make(device=session.device)
    other = make()
    assert either.commit([session, newer, other]) == [Outcome.REVOKED, Outcome.REVOKED, Outcome.COMMITTED]
    assert either.sessions_of([session.device, other.device]) == {other.device: other}


def test_a_minimum_epoch_alone_revokes_nobody(either: Either, make: Make) -> None:
    session = make()
    either.restrict(session.device, 3)
    assert either.commit([session]) == [Outcome.COMMITTED]


@pytest.mark.parametrize("count", [1, 2, 3, 511, 512, 513, 1500])
def test_batches_of_any_size_are_whole(either: Either, make: Make, count: int) -> None:
    batch = [make() for _ in range(count)]
    assert either.commit(batch) == [Outcome.COMMITTED] * count
    assert either.sessions([s.client_id for s in batch]) == {s.client_id: s for s in batch}
    replacements = [make(device=s.device) for s in batch]
    assert either.commit(replacements) == [Outcome.COMMITTED] * count
    assert either.sessions_of([s.device for s in batch]) == {s.device: s for s in replacements}


SESSIONS = st.builds(
    lambda device, client_id, ordinal, success, start, life: (device, client_id, ordinal, success, start, life),
    *(st.integers(0, 3),) * 4,
    st.integers(0, 20),
    st.none() | st.integers(0, 10),
)


@settings(max_examples=60, deadline=None)
@given(before=st.lists(SESSIONS, max_size=6), batch=st.lists(SESSIONS, max_size=8), revoked=st.sets(st.integers(0, 3)))
def test_a_batch_is_the_same_as_its_sessions_one_by_one(
    make: Make, before: list[tuple[int, ...]], batch: list[tuple[int, ...]], revoked: set[int]
) -> None:
    """And of what is kept no two have a device or a Client ID in common: the schema would have refused it."""

    def session(numbers: tuple[int, ...]) -> Session:
        device, client_id, ordinal, success, start, life = numbers
        return make(
            device=bytes([device]) * 16,
            client_id=bytes([client_id]) * 7,
            ordinal=ordinal,
            success_hash=bytes([device, success]) * 16,
            established_at=start,
            expires_at=None if life is None else start + life,
        )

    sessions = [session(numbers) for numbers in batch]
    with tempfile.TemporaryDirectory() as directory:
        ends = []
        stores: list[tuple[str, Either]] = [
            ("whole", SqliteStore(Path(directory) / "whole")),
            ("one by one", SqliteStore(Path(directory) / "one by one")),
            ("whole", MemoryStore(Disk())),
            ("one by one", MemoryStore(Disk())),
        ]
        for name, opened in stores:
            with closing(opened) as store:
                for numbers in before:
                    store.commit([session(numbers)])
                for device in revoked:
                    store.revoke(bytes([device]) * 16, 0)
                outcomes = store.commit(sessions) if name == "whole" else [store.commit([s])[0] for s in sessions]
                rows = [(s.device, s.client_id, s.ordinal, s.success_hash, s.expires_at) for s in store.live(-1)]
                ends.append((outcomes, rows, store.last_ordinal()))
        assert all(end == ends[0] for end in ends)
        assert not {device[0] for device, *_ in ends[0][1]} & revoked
