"""The cache of sessions' keys: it saves work and decides nothing."""

from os import urandom

import pytest

from dpe_coap import oscore
from dpe_coap.client_ids import client_id_bytes
from dpe_server.keys.at_rest import AtRest, AtRestError
from dpe_server.session.contexts import Contexts


@pytest.fixture
def at_rest() -> AtRest:
    return AtRest(bytes(32), urandom)


def sealed(at_rest: AtRest, client_id: int, keys: bytes) -> bytes:
    return at_rest.seal_keys(keys, client_id)


def test_keys_are_derived_once(at_rest: AtRest) -> None:
    contexts = Contexts(at_rest)
    keys = urandom(24)
    derived = oscore.derive(keys[:16], keys[16:], client_id_bytes(7))
    assert contexts.keys(7, 1, sealed(at_rest, 7, keys)) == derived
    assert contexts.keys(7, 1, b"not opened again") == derived
    assert len(contexts) == 1


def test_a_client_id_that_was_given_again_has_other_keys(at_rest: AtRest) -> None:
    contexts = Contexts(at_rest)
    first = contexts.keys(7, 1, sealed(at_rest, 7, urandom(24)))
    second = contexts.keys(7, 2, sealed(at_rest, 7, urandom(24)))
    assert first != second
    assert contexts.keys(7, 2, b"not opened again") == second
    with pytest.raises(AtRestError):
        contexts.keys(7, 1, b"gone")


def test_the_first_that_came_goes_first(at_rest: AtRest) -> None:
    contexts = Contexts(at_rest, total=2)
    for client_id in (1, 2, 3):
        contexts.keys(client_id, 1, sealed(at_rest, client_id, urandom(24)))
    assert len(contexts) == 2
    with pytest.raises(AtRestError):
        contexts.keys(1, 1, b"gone")
    assert contexts.keys(2, 1, b"not opened again")
    assert contexts.keys(3, 1, b"not opened again")


def test_keys_of_an_ended_session_are_forgotten(at_rest: AtRest) -> None:
    contexts = Contexts(at_rest)
    contexts.keys(7, 1, sealed(at_rest, 7, urandom(24)))
    contexts.forget(7)
    contexts.forget(8)
    assert len(contexts) == 0
    with pytest.raises(AtRestError):
        contexts.keys(7, 1, b"gone")
