"""Beats: whether a store is the one that a server remembers."""

from collections.abc import Callable

import pytest

from dpe_server.store import contract
from dpe_server.store.contract import (
    BEATS,
    Beat,
    ForgottenError,
    ReplacedError,
    Session,
    Store,
)

Make = Callable[..., Session]
Open = Callable[[], Store]


def test_a_beat_is_appended_after_the_one_that_is_remembered(store: Store, opening: Open) -> None:
    first = store.beat(None, b"1" * 8)
    assert first == Beat(1, b"1" * 8)
    second = opening().beat(first, b"2" * 8)
    assert second == Beat(2, b"2" * 8)
    assert store.beat(first, b"3" * 8) == Beat(3, b"3" * 8), "several remember; each what it wrote last"


@pytest.mark.parametrize(
    ("remembered", "error", "said"),
    [
        (None, ForgottenError, "this state directory remembers none"),
        (Beat(2, b"x" * 8), ReplacedError, "beat 2 is another"),
        (Beat(4, b"4" * 8), ReplacedError, "beat 4 is missing"),
    ],
)
def test_a_store_that_is_not_the_one_remembered_is_refused_and_left_alone(
    store: Store, remembered: Beat | None, error: type[ReplacedError], said: str
) -> None:
    beats = [store.beat_anew(0, bytes([n]) * 8) for n in b"123"]
    with pytest.raises(error, match=said) as caught:
        store.beat(remembered, b"9" * 8)
    assert type(caught.value) is error
    assert store.beat(beats[-1], b"4" * 8).number == 4, "nothing was appended"


def test_an_empty_store_is_not_the_one_that_had_beats(store: Store) -> None:
    with pytest.raises(ReplacedError, match="beat 7 is missing") as caught:
        store.beat(Beat(7, bytes(8)), bytes(8))
    assert not isinstance(caught.value, ForgottenError)


def test_the_oldest_beats_go_and_who_remembers_one_is_told_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store.beat(None, bytes(8))
    last = store.beat_anew(BEATS, bytes(8))
    assert last.number == BEATS + 1
    with pytest.raises(ForgottenError, match=f"remembers beat 1, and the oldest is {BEATS + 1}"):
        store.beat(first, bytes(8))


def test_as_many_beats_are_kept_as_is_said(store: Store) -> None:
    assert contract.BEATS == 20_000
    kept, gone = store.beat_anew(10, b"k" * 8), store.beat_anew(0, b"g" * 8)
    assert (kept.number, gone.number) == (11, 12)
    store.beat_anew(kept.number + BEATS - 2, bytes(8))
    assert store.beat(kept, bytes(8)).number == kept.number + BEATS
    with pytest.raises(ForgottenError):
        store.beat(kept, bytes(8))


def test_a_beat_of_a_recovery_comes_after_all_others(store: Store) -> None:
    store.beat_anew(0, bytes(8))
    assert store.beat_anew(70, b"r" * 8) == Beat(71, b"r" * 8)
    assert store.beat_anew(5, b"s" * 8) == Beat(72, b"s" * 8)


def test_beats_are_no_business_of_sessions(store: Store, make: Make) -> None:
    session = make()
    store.commit([session])
    store.beat(None, bytes(8))
    assert store.purge()
    assert list(store.live(0)) == [session]
