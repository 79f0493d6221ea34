"""A commit of many changes is the same as the changes, each committed by itself."""

import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpe_server.store.contract import (
    Change,
    End,
    Forget,
    RestrictEpoch,
    Revoke,
    Session,
    SetMinimumEpoch,
    Store,
    Unrevoke,
)
from dpe_server.store.opening import make_store
from dpe_server.store.questions import Questions, Restriction
from dpe_tools.simulation.memory_store import Disk, MemoryStore
from tests.postgresql import Cluster
from tests.server.store.contract.reading import EVER, Make

DEVICES, CLIENT_IDS = st.integers(1, 4), st.integers(0, 3)
SESSIONS = st.tuples(
    DEVICES, CLIENT_IDS, st.integers(1, 4), st.integers(0, 3), st.integers(0, 20), st.none() | st.integers(0, 10)
)
NAMES = DEVICES.map(lambda number: bytes([number]) * 16)
MEASURES = st.one_of(
    st.builds(Revoke, NAMES, st.integers(0, 9)),
    st.builds(Unrevoke, NAMES),
    st.builds(End, NAMES, st.integers(0, 9)),
    st.builds(Forget, NAMES, st.integers(0, 9)),
    st.builds(RestrictEpoch, NAMES, st.integers(0, 3)),
    st.builds(SetMinimumEpoch, st.integers(0, 3)),
)


New = Callable[[Path], Store]
BEFORE = st.lists(SESSIONS, max_size=6)
GIVEN = st.lists(st.one_of(SESSIONS, SESSIONS, MEASURES), max_size=9)


def in_sqlite(path: Path) -> Store:
    return make_store(f"sqlite:{path}")


def in_memory(path: Path) -> Store:
    return MemoryStore(Disk())


@pytest.mark.parametrize("new", [in_sqlite, in_memory])
@settings(max_examples=100, deadline=None)
@given(before=BEFORE, given_=GIVEN)
def test_a_commit_is_the_same_as_its_changes_one_by_one(
    new: New, make: Make, before: list[tuple[int, ...]], given_: list[tuple[int, ...] | Change]
) -> None:
    same_one_by_one(new, make, before, given_)


@settings(max_examples=25, deadline=None)
@given(before=BEFORE, given_=GIVEN)
def test_a_commit_in_postgresql_is_the_same_as_its_changes_one_by_one(
    postgresql: Cluster, make: Make, before: list[tuple[int, ...]], given_: list[tuple[int, ...] | Change]
) -> None:
    def new(path: Path) -> Store:
        return make_store(postgresql.emptied(path.name), one_machine=True)

    same_one_by_one(new, make, before, given_)


def same_one_by_one(
    new: New, make: Make, before: list[tuple[int, ...]], given_: list[tuple[int, ...] | Change]
) -> None:
    """And of what is kept no two have a device or a Client ID in common: the schema would have refused it."""

    def session(numbers: tuple[int, ...]) -> Session:
        device, client_id, ordinal, success, start, life = numbers
        return make(
            device=bytes([device]) * 16,
            client_id=client_id,
            ordinal=ordinal,
            success_hash=bytes([device, success]) * 16,
            established_at=start,
            expires_at=None if life is None else start + life,
        )

    measures = (Revoke, Unrevoke, End, Forget, RestrictEpoch, SetMinimumEpoch)
    changes: list[Change] = [
        one if isinstance(one, measures) else session(one)  # type: ignore[arg-type]
        for one in given_
    ]
    devices = {bytes([number]) * 16 for number in range(1, 5)}
    with tempfile.TemporaryDirectory() as directory:
        ends = []
        stores: list[tuple[bool, Store]] = [
            (True, new(Path(directory) / "whole")),
            (False, new(Path(directory) / "one by one")),
            (False, MemoryStore(Disk())),
        ]
        for whole, opened in stores:
            with closing(opened) as store:
                for numbers in before:
                    store.commit([session(numbers)])
                outcomes = store.commit(changes) if whole else [store.commit([c])[0] for c in changes]
                rows = [(s.device, s.client_id, s.ordinal, s.success_hash, s.expires_at) for s in store.live(EVER)]
                facts = store.look(Questions(restrictions=devices))
                laid = {device: facts.restrictions.get(device, Restriction()) for device in devices}
                pruned = [store.prune(day) for day in range(11)]
                ends.append((outcomes, rows, laid, facts.minimum_epoch, store.last_ordinal(), pruned))
        assert all(end == ends[0] for end in ends)
        _, rows, laid, _, _, _ = ends[0]
        assert not {device for device, *_ in rows} & {device for device in devices if laid[device].revoked}
