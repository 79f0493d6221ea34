"""The cache of sessions' keys: it saves work and decides nothing."""

from os import urandom

import pytest

from dpe_coap import oscore
from dpe_coap.client_ids import client_id_bytes
from dpe_server.keys.at_rest import AtRest
from dpe_server.session.contexts import TOTAL, Contexts, Used


@pytest.fixture
def at_rest() -> AtRest:
    return AtRest(bytes(32), urandom)


def used(ordinal: int) -> Used:
    return ordinal, urandom(16), urandom(16), urandom(13)


def test_keys_are_derived_from_what_the_store_has(at_rest: AtRest) -> None:
    master, sender = urandom(24), client_id_bytes(7)
    keys = oscore.derive(master[:16], master[16:], sender)
    contexts = Contexts(at_rest, urandom)
    ordinal, theirs, ours, zero = contexts.derive(7, 5, at_rest.seal_keys(master, 7))
    assert (ordinal, theirs, ours) == (5, keys.client, keys.server)
    for number in (0, 1, 255, 256, (1 << 40) - 1):
        assert oscore.numbered(zero, number) == oscore.nonce(keys.common_iv, sender, number)
    assert len(contexts) == 0, "nothing is kept before a request was verified"


def test_keys_that_do_not_open_are_nobodys(at_rest: AtRest) -> None:
    master = urandom(24)
    one, other = Contexts(at_rest, urandom), Contexts(at_rest, urandom)
    sealed = at_rest.seal_keys(master, 7)
    assert one.derive(8, 5, sealed)[1] not in (one.derive(7, 5, sealed)[1], other.derive(8, 5, sealed)[1])
    assert one.derive(8, 5, b"")[1] != other.derive(8, 5, b"")[1]


def test_a_session_is_named_by_client_id_and_ordinal(at_rest: AtRest) -> None:
    contexts, first, second = Contexts(at_rest, urandom), used(1), used(2)
    assert contexts.known(7, 1) is None
    contexts.keep(7, first)
    assert contexts.known(7, 1) == first
    assert contexts.known(7, 2) is None
    contexts.keep(7, second)
    assert contexts.known(7, 2) == second
    assert contexts.known(7, 1) is None
    assert len(contexts) == 1


def test_the_first_that_came_goes_first(at_rest: AtRest) -> None:
    contexts = Contexts(at_rest, urandom, total=2)
    for client_id in (1, 2, 1, 3):
        contexts.keep(client_id, used(1))
    assert len(contexts) == 2
    assert contexts.known(1, 1) is None
    assert contexts.known(2, 1) is not None
    assert contexts.known(3, 1) is not None


def test_keys_of_an_ended_session_are_forgotten(at_rest: AtRest) -> None:
    contexts = Contexts(at_rest, urandom)
    contexts.keep(7, used(1))
    contexts.forget(7)
    contexts.forget(8)
    assert len(contexts) == 0
    assert contexts.known(7, 1) is None


def test_where_there_are_no_keys_nobodys_are_opened_as_any_others(at_rest: AtRest) -> None:
    """And not refused, which would take longer."""

    class Strict(AtRest):
        def open_keys(self, sealed: bytes, client_id: int) -> bytes:
            opened.append(super().open_keys(sealed, client_id))
            return opened[-1]

    opened: list[bytes] = []
    drawn: list[int] = []

    def random(size: int) -> bytes:
        drawn.append(size)
        return urandom(size)

    contexts = Contexts(Strict(bytes(32), urandom), random)
    assert drawn == [24], "a master secret of 16 bytes and a master salt of 8"
    contexts.derive(7, 5, b"")
    assert [len(master) for master in opened] == [24]


def test_a_million_sessions_have_room() -> None:
    assert TOTAL == 1_048_576
