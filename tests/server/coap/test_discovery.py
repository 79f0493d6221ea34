"""Discovery lists the register resource, filtered as RFC 6690 section 4.1 says."""

import pytest

from dpe_server.coap.discovery import links

LINK = b'</dpe/register>;rt="dpe.register";if="dpe-1";ct=60'


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
    assert links(query) == LINK


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
    assert links(query) == b""
