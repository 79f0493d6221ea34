"""The cache of sessions' keys: it saves work and decides nothing."""

from os import urandom

import pytest

from dpe_coap import oscore
from dpe_coap.client_ids import client_id_bytes
from dpe_server.keys.at_rest import AtRest
from dpe_server.session.contexts import Contexts


@pytest.fixture
def at_rest() -> AtRest:
    return AtRest(bytes(32), urandom)


def keys() -> oscore.Keys:
    return oscore.derive(urandom(16), urandom(8), urandom(7))


def test_keys_are_derived_from_what_the_store_has(at_rest: AtRest) -> None:
    master = urandom(24)
    expected = oscore.derive(master[:16], master[16:], client_id_bytes(7))
    contexts = Contexts(at_rest)
    assert contexts.derive(7, at_rest.seal_keys(master, 7)) == expected
    assert contexts.derive(8, at_rest.seal_keys(master, 7)) is None, "sealed for another session"
    assert contexts.derive(7, b"") is None
    assert len(contexts) == 0, "nothing is kept before a request was verified"


def test_a_session_is_named_by_client_id_and_ordinal(at_rest: AtRest) -> None:
    contexts, first, second = Contexts(at_rest), keys(), keys()
    assert contexts.known(7, 1) is None
    contexts.keep(7, 1, first)
    assert contexts.known(7, 1) == first
    assert contexts.known(7, 2) is None
    contexts.keep(7, 2, second)
    assert contexts.known(7, 2) == second
    assert contexts.known(7, 1) is None
    assert len(contexts) == 1


def test_the_first_that_came_goes_first(at_rest: AtRest) -> None:
    contexts = Contexts(at_rest, total=2)
    for client_id in (1, 2, 1, 3):
        contexts.keep(client_id, 1, keys())
    assert len(contexts) == 2
    assert contexts.known(1, 1) is None
    assert contexts.known(2, 1) is not None
    assert contexts.known(3, 1) is not None


def test_keys_of_an_ended_session_are_forgotten(at_rest: AtRest) -> None:
    contexts = Contexts(at_rest)
    contexts.keep(7, 1, keys())
    contexts.forget(7)
    contexts.forget(8)
    assert len(contexts) == 0
    assert contexts.known(7, 1) is None
