"""Discovery lists links, filtered as RFC 6690 section 4.1 says, whole or in blocks."""

import pytest

from dpe_server.coap.discovery import WebLink, link_format
from dpe_server.coap.router import Router
from dpe_server.operation import resources
from tests import coap
from tests.coap import ACCEPT, DISCOVERY, GET, POST, URI_QUERY
from tests.server.coap.asking import ask, block, check_refusal, dotted, reverse

LINK = b'</dpe/register>;rt="dpe.register";if="dpe-1";ct=60'
REGISTER = WebLink(("dpe", "register"), {"rt": "dpe.register", "if": "dpe-1", "ct": 60})


@pytest.fixture
def router() -> Router:
    return resources.router(reverse)


def test_the_register_resource_is_listed(router: Router) -> None:
    response = ask(router, GET, DISCOVERY)
    assert (dotted(response), response.content_format, response.payload) == ("2.05", 40, LINK)


@pytest.mark.parametrize(
    "query",
    [
        [],
        [b"rt=dpe.register"],
        [b"rt=dpe.*"],
        [b"rt=*"],
        [b"if=dpe-1"],
        [b"if=dpe*"],
        [b"ct=60"],
        [b"href=/dpe/register"],
        [b"href=/dpe*"],
        [b"rt=dpe.register", b"if=dpe-1"],
        [b"no-filter"],
        [b""],
    ],
)
def test_a_filter_that_matches_gives_the_link(query: list[bytes]) -> None:
    assert link_format([REGISTER], query) == LINK


@pytest.mark.parametrize(
    "query",
    [
        [b"rt=dpe"],
        [b"rt=core.rd*"],
        [b"rt="],
        [b"if=dpe"],
        [b"ct=40"],
        [b"href=/other"],
        [b"href=dpe/register"],
        [b"title=dpe*"],
        [b"rt=dpe.register", b"if=other"],
        [b"rt=*dpe"],
        [b"rt=\xff\xfe"],
        [b"=*"],
    ],
)
def test_a_filter_that_does_not_match_gives_nothing(query: list[bytes]) -> None:
    assert link_format([REGISTER], query) == b""


SENSOR = WebLink(("sensor",), {"rt": "light temperature", "title": "of the hall", "ct": "40 60", "sz": 9})
SENSOR_TEXT = b'</sensor>;rt="light temperature";title="of the hall";ct="40 60";sz=9'


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ([], LINK + b"," + SENSOR_TEXT),
        ([b"ct=60"], LINK + b"," + SENSOR_TEXT),
        ([b"ct=6*", b"no-filter"], LINK + b"," + SENSOR_TEXT),
        ([b"ct=40"], SENSOR_TEXT),
        ([b"rt=temperature"], SENSOR_TEXT),
        ([b"rt=temp*"], SENSOR_TEXT),
        ([b"rt=light temperature"], b""),
        ([b"title=of the hall"], SENSOR_TEXT),
        ([b"title=of"], b""),
        ([b"sz=9"], SENSOR_TEXT),
        ([b"rt=dpe.register"], LINK),
        ([b"rt=dpe.register", b"ct=40"], b""),
    ],
)
def test_each_of_several_links_is_filtered_by_itself(query: list[bytes], expected: bytes) -> None:
    assert link_format([REGISTER, SENSOR], query) == expected


def test_without_links_there_is_nothing_to_list() -> None:
    response = ask(Router(), GET, DISCOVERY)
    assert (dotted(response), response.content_format, response.payload) == ("2.05", 40, b"")


REFUSALS = {
    "POST": (POST, DISCOVERY, "4.05", "GET is"),
    "another Accept": (GET, [*DISCOVERY, (ACCEPT, b"\x3c")], "4.06", "accept 60"),
    "Block1": (GET, [*DISCOVERY, (27, b"")], "4.02", "option 27"),
    "Block2 beyond the links": (GET, [*DISCOVERY, (23, b"\x40")], "4.00", "option 23"),
    "Block2 of exponent 7": (GET, [*DISCOVERY, (23, b"\x07")], "4.00", None),
}


@pytest.mark.parametrize(("code", "options", "expected", "detail"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_has_its_code_and_problem_details(
    router: Router, code: int, options: coap.Options, expected: str, detail: str | None
) -> None:
    check_refusal(ask(router, code, options), expected, detail)


def test_block2_gives_the_links_in_pieces(router: Router) -> None:
    whole = ask(router, GET, DISCOVERY)
    pieces = []
    for number in range(10):
        response = ask(router, GET, [*DISCOVERY, (23, block(number, False, 0))])
        assert response.block2 is not None
        pieces.append(response.payload)
        assert len(response.payload) == 16 or not response.block2.more
        if not response.block2.more:
            break
    assert b"".join(pieces) == whole.payload


def test_block2_beyond_the_end_of_nothing_is_empty(router: Router) -> None:
    response = ask(router, GET, [*DISCOVERY, (URI_QUERY, b"rt=other"), (23, block(0, False, 0))])
    assert (dotted(response), response.payload, response.block2) == ("2.05", b"", (0, False, 0))


def test_accept_40_is_fine(router: Router) -> None:
    assert dotted(ask(router, GET, [*DISCOVERY, (ACCEPT, b"\x28")])) == "2.05"
