"""What requests get whatever the resource, and what it takes to add a resource."""

from collections.abc import Hashable

import pytest

from dpe_server.coap.datagram import CoapRequest
from dpe_server.coap.response import CoapResponse
from dpe_server.coap.router import Router
from dpe_server.operation import resources
from tests import coap
from tests.coap import DISCOVERY, GET, POST, REGISTER, URI_PATH, URI_QUERY
from tests.server.coap.asking import ask, check_refusal, dotted, reverse

LINK = b'</dpe/register>;rt="dpe.register";if="dpe-1";ct=60'


@pytest.fixture
def router() -> Router:
    return resources.router(reverse, reverse)


REFUSALS = {
    "method 0.05 elsewhere": (5, [], b"", "4.05", None),
    "no path": (GET, [], b"", "4.04", None),
    "another path": (POST, [(11, b"dpe"), (11, b"session")], b"", "4.04", None),
    "a trailing slash": (POST, [*REGISTER, (11, b"")], b"", "4.04", None),
    "a path that is not UTF-8": (GET, [(11, b"\xff\xfe")], b"", "4.04", None),
    "an unknown critical option": (POST, [*REGISTER, (13, b"")], b"x", "4.02", "option 13"),
    "the same on another path": (GET, [(11, b"x"), (13, b"")], b"", "4.02", "option 13"),
    "the same on discovery": (GET, [*DISCOVERY, (5, b"")], b"", "4.02", "option 5"),
    "If-Match": (POST, [*REGISTER, (1, b"")], b"x", "4.02", "option 1"),
    "Proxy-Uri": (GET, [(35, b"coap://other/")], b"", "5.05", None),
    "Proxy-Scheme": (POST, [*REGISTER, (39, b"coap")], b"x", "5.05", None),
    "Proxy-Scheme on another path": (GET, [(11, b"x"), (39, b"coap")], b"x", "5.05", None),
}


@pytest.mark.parametrize(("code", "options", "payload", "expected", "detail"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_has_its_code_and_problem_details(
    router: Router, code: int, options: coap.Options, payload: bytes, expected: str, detail: str | None
) -> None:
    check_refusal(ask(router, code, options, payload), expected, detail)


class Greeting:
    """A resource of another kind."""

    async def answer(self, request: CoapRequest, peer: Hashable) -> CoapResponse:
        return CoapResponse(0x45, b"hello, " + str(peer).encode(), 0)


def links(router: Router, *query: bytes) -> bytes:
    return ask(router, GET, [*DISCOVERY, *((URI_QUERY, item) for item in query)]).payload


def test_a_further_resource_is_one_line(router: Router) -> None:
    router.add(("greeting", "short"), Greeting(), {"rt": "greeting", "ct": 0})

    assert ask(router, GET, [(URI_PATH, b"greeting"), (URI_PATH, b"short")]).payload == b"hello, peer"
    assert dotted(ask(router, POST, REGISTER, b"x")) == "2.04"
    link = b'</greeting/short>;rt="greeting";ct=0'
    assert links(router) == LINK + b"," + link
    assert links(router, b"rt=greeting") == link
    assert links(router, b"rt=dpe.*") == LINK
    assert links(router, b"href=/*", b"ct=0") == link
    assert links(router, b"rt=greeting", b"if=dpe-1") == b""


def test_a_resource_without_attributes_is_not_listed(router: Router) -> None:
    router.add(("hidden",), Greeting())
    assert ask(router, GET, [(URI_PATH, b"hidden")]).payload == b"hello, peer"
    assert links(router) == LINK
    assert links(router, b"href=/hidden") == b""


def test_what_every_request_is_refused_for_a_further_resource_refuses_too(router: Router) -> None:
    router.add(("greeting",), Greeting())
    check_refusal(ask(router, GET, [(URI_PATH, b"greeting"), (13, b"")]), "4.02", "option 13")
    check_refusal(ask(router, GET, [(URI_PATH, b"greeting"), (39, b"coap")]), "5.05", None)


@pytest.mark.parametrize("path", [("dpe", "register"), (".well-known", "core")])
def test_two_resources_cannot_have_one_path(router: Router, path: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="/".join(path)):
        router.add(path, Greeting(), {"rt": "greeting"})
    assert links(router) == LINK
