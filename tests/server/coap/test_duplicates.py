"""Duplicates are found for an exchange lifetime, in bounded memory."""

import gc

from dpe_server.coap.duplicates import EXCHANGE_LIFETIME, Duplicates


def test_the_same_bytes_under_one_message_id_are_a_duplicate() -> None:
    duplicates = Duplicates()
    assert duplicates.begin("key", b"request", 0) is None
    assert duplicates.begin("key", b"request", 1) == b""
    duplicates.remember("key", b"reply")
    assert duplicates.reply("key") == b"reply"
    assert duplicates.begin("key", b"request", EXCHANGE_LIFETIME - 1) == b"reply"


def test_a_reply_that_comes_late_is_kept_with_its_exchange() -> None:
    duplicates = Duplicates()
    duplicates.begin("key", b"request", 0)
    duplicates.begin("other", b"request", EXCHANGE_LIFETIME + 1)  # the next generation
    duplicates.remember("key", b"reply")
    assert duplicates.begin("key", b"request", EXCHANGE_LIFETIME + 2) == b"reply"


def test_the_reply_to_what_is_forgotten_is_not_kept() -> None:
    duplicates = Duplicates()
    duplicates.remember("key", b"reply")
    assert duplicates.reply("key") == b""
    assert len(duplicates) == 0


def test_other_bytes_under_a_used_message_id_are_a_new_exchange() -> None:
    duplicates = Duplicates()
    duplicates.begin("key", b"request", 0)
    assert duplicates.begin("key", b"another", 1) is None
    assert duplicates.begin("key", b"another", 2) is not None
    assert (duplicates.begun, duplicates.resent) == (2, 1)


def test_an_exchange_lives_for_one_lifetime_and_not_for_two() -> None:
    duplicates = Duplicates()
    duplicates.begin("first", b"", 0)
    duplicates.begin("late", b"", EXCHANGE_LIFETIME - 1)
    assert duplicates.begin("late", b"", 2 * EXCHANGE_LIFETIME - 2) is not None
    duplicates.begin("other", b"", 3 * EXCHANGE_LIFETIME - 1)
    assert duplicates.begin("late", b"", 3 * EXCHANGE_LIFETIME - 1) is None


def test_after_a_long_silence_nothing_is_remembered() -> None:
    duplicates = Duplicates()
    duplicates.begin("key", b"", 0)
    assert duplicates.begin("key", b"", 10 * EXCHANGE_LIFETIME) is None


def test_memory_is_bounded() -> None:
    duplicates = Duplicates(generation=10)
    for number in range(1_000):
        assert duplicates.begin(number, b"", 0) is None
        assert len(duplicates) <= 20
    assert duplicates.begin(999, b"", 0) is not None
    assert duplicates.begin(0, b"", 0) is None


def test_the_garbage_collector_has_nothing_to_look_at() -> None:
    duplicates = Duplicates()
    before = len(gc.get_objects())
    for number in range(1_000):
        key = number.to_bytes(50, "big")
        duplicates.begin(key, b"request", 0)
        duplicates.remember(key, b"reply")
    assert len(gc.get_objects()) - before < 10
    assert not gc.is_tracked(duplicates._new)
