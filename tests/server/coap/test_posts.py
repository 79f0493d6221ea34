"""A resource that takes POSTs: what it refuses and takes, block-wise uploads, and what two of them share."""

import pytest

from dpe_coap.binding import Code
from dpe_server.coap.posts import UPLOADS, PostResource, Uploads
from dpe_server.coap.response import CoapResponse
from dpe_server.coap.router import Router
from dpe_server.handling.reply import Reply
from dpe_server.operation import resources
from tests import coap
from tests.coap import DELETE, GET, POST, PUT, REGISTER, URI_PATH
from tests.server.coap.asking import ask, block, check_refusal, dotted, reverse

PATH = REGISTER[:2]
PAYLOAD = bytes(range(100))


@pytest.fixture
def router() -> Router:
    return resources.router(reverse)


def test_the_reply_is_the_answer(router: Router) -> None:
    assert ask(router, POST, REGISTER, PAYLOAD) == CoapResponse(Code.CHANGED, PAYLOAD[::-1], 60)


REFUSALS = {
    "GET": (GET, REGISTER, b"", "4.05", "POST is"),
    "PUT": (PUT, REGISTER, b"", "4.05", "POST is"),
    "DELETE": (DELETE, REGISTER, b"", "4.05", "POST is"),
    "method 0.31": (31, REGISTER, b"", "4.05", "POST is"),
    "no Content-Format": (POST, PATH, b"x", "4.15", "no content format"),
    "another Content-Format": (POST, [*PATH, (12, b"\x32")], b"x", "4.15", "content format 50"),
    "another Accept": (POST, [*REGISTER, (17, b"\x32")], b"x", "4.06", "accept 50"),
    "a payload of 257 bytes": (POST, REGISTER, bytes(257), "4.13", "at most 256 bytes"),
    "a query": (POST, [*REGISTER, (15, b"a=b")], b"x", "4.02", "option 15"),
    "Block2 below 256": (POST, [*REGISTER, (23, b"\x03")], b"x", "4.02", "option 23"),
    "the second Block2": (POST, [*REGISTER, (23, b"\x14")], b"x", "4.02", "option 23"),
    "Block2 of exponent 7": (POST, [*REGISTER, (23, b"\x07")], b"x", "4.00", None),
    "Block1 of exponent 7": (POST, [*REGISTER, (27, b"\x07")], b"x", "4.00", None),
}


@pytest.mark.parametrize(("code", "options", "payload", "expected", "detail"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_has_its_code_and_problem_details(
    router: Router, code: int, options: coap.Options, payload: bytes, expected: str, detail: str | None
) -> None:
    response = ask(router, code, options, payload)
    check_refusal(response, expected, detail)
    assert response.size1 == (256 if expected == "4.13" else None)


ACCEPTED = {
    "Uri-Host and Uri-Port": [(3, b"server.example"), (7, b"\x16\x33")],
    "Accept 60": [(17, b"\x3c")],
    "Observe": [(6, b"")],
    "unknown elective options": [(2, b"x"), (65000, b"y"), (8, b"\xff")],
    "a second Content-Format": [(12, b"\x00")],
    "Block2 as a hint of 256 bytes": [(23, b"\x04")],
    "Size1 without Block1": [(60, b"\x10\x00")],
    "No-Response": [(258, b"\x1a")],
}


@pytest.mark.parametrize("options", ACCEPTED.values(), ids=ACCEPTED)
def test_options_that_change_nothing(router: Router, options: coap.Options) -> None:
    assert ask(router, POST, [*REGISTER, *options], PAYLOAD) == CoapResponse(Code.CHANGED, PAYLOAD[::-1], 60)


def test_a_payload_of_256_bytes_is_taken(router: Router) -> None:
    assert ask(router, POST, REGISTER, bytes(256)).code == Code.CHANGED


def upload(
    router: Router,
    number: int,
    more: bool,
    payload: bytes,
    exponent: int = 1,
    options: coap.Options = REGISTER,
    **other: str,
) -> CoapResponse:
    return ask(router, POST, [*options, (27, block(number, more, exponent))], payload, **other)


class TestBlockwiseUpload:
    def test_blocks_are_put_together(self, router: Router) -> None:
        for number in range(3):
            answer = upload(router, number, True, PAYLOAD[number * 32 :][:32])
            assert (dotted(answer), answer.block1, answer.payload) == ("2.31", (number, True, 1), b"")
        answer = upload(router, 3, False, PAYLOAD[96:])
        assert (dotted(answer), answer.block1, answer.payload) == ("2.04", (3, False, 1), PAYLOAD[::-1])

    def test_a_single_block_is_a_whole_payload(self, router: Router) -> None:
        assert upload(router, 0, False, b"abc").payload == b"cba"

    def test_peers_and_request_tags_are_kept_apart(self, router: Router) -> None:
        upload(router, 0, True, PAYLOAD[:32], peer="one")
        upload(router, 0, True, PAYLOAD[32:64], peer="two")
        tagged = [*REGISTER, (27, block(0, True, 1)), (292, b"t")]
        ask(router, POST, tagged, bytes(32), peer="one")
        assert upload(router, 1, False, b"1", peer="one").payload == b"1" + PAYLOAD[31::-1]
        assert upload(router, 1, False, b"2", peer="two").payload == b"2" + PAYLOAD[63:31:-1]

    def test_a_missing_block_is_4_08(self, router: Router) -> None:
        assert dotted(upload(router, 1, False, b"x")) == "4.08"
        upload(router, 0, True, bytes(32))
        assert dotted(upload(router, 2, False, b"x")) == "4.08"

    def test_a_first_block_starts_over(self, router: Router) -> None:
        upload(router, 0, True, bytes(32))
        upload(router, 0, True, PAYLOAD[:32])
        assert upload(router, 1, False, b"x").payload == b"x" + PAYLOAD[31::-1]

    @pytest.mark.parametrize(
        ("number", "more", "exponent", "size"),
        [
            (0, True, 4, 256),
            (0, True, 6, 1024),
            (0, False, 6, 257),
            (7, True, 1, 32),
            (8, False, 1, 1),
            (65535, True, 0, 16),
        ],
    )
    def test_what_must_exceed_256_bytes_is_4_13_at_once(
        self, router: Router, number: int, more: bool, exponent: int, size: int
    ) -> None:
        answer = upload(router, number, more, bytes(size), exponent)
        assert (dotted(answer), answer.size1) == ("4.13", 256)

    def test_a_size_1_that_exceeds_256_is_4_13_at_the_first_block(self, router: Router) -> None:
        options = [*REGISTER, (27, block(0, True, 1)), (60, b"\x01\x01")]
        assert dotted(ask(router, POST, options, bytes(32))) == "4.13"

    def test_exactly_256_bytes_are_taken(self, router: Router) -> None:
        for number in range(7):
            assert dotted(upload(router, number, True, bytes(32))) == "2.31"
        assert len(upload(router, 7, False, bytes(32)).payload) == 256

    @pytest.mark.parametrize(("more", "size"), [(True, 31), (True, 33), (False, 33), (True, 0)])
    def test_a_block_of_the_wrong_size_is_4_00(self, router: Router, more: bool, size: int) -> None:
        assert dotted(upload(router, 0, more, bytes(size))) == "4.00"

    def test_the_oldest_upload_goes_first(self, router: Router) -> None:
        for number in range(UPLOADS + 1):
            upload(router, 0, True, bytes(32), peer=str(number))
        assert dotted(upload(router, 1, False, b"", peer="0")) == "4.08"
        assert dotted(upload(router, 1, False, b"", peer="1")) == "2.04"


OTHER = [(URI_PATH, b"other"), (12, b"\x32")]


async def short(payload: bytes) -> Reply:
    """Answer in another content format."""
    return Reply(Code.CHANGED, payload[:2], 50)


class TestTwoResources:
    @pytest.fixture
    def router(self) -> Router:
        router, uploads = Router(), Uploads()
        router.add(("dpe", "register"), PostResource(reverse, uploads))
        router.add(("other",), PostResource(short, uploads, content_format=50, largest=64))
        return router

    def test_each_decides_its_own_payloads(self, router: Router) -> None:
        assert ask(router, POST, REGISTER, b"abc") == CoapResponse(Code.CHANGED, b"cba", 60)
        assert ask(router, POST, OTHER, b"abc") == CoapResponse(Code.CHANGED, b"ab", 50)

    def test_each_has_its_content_format_and_largest_payload(self, router: Router) -> None:
        assert dotted(ask(router, POST, [*OTHER, (17, b"\x32")], bytes(64))) == "2.04"
        check_refusal(ask(router, POST, [*OTHER, (17, b"\x3c")], b"x"), "4.06", "accept 60")
        check_refusal(ask(router, POST, [OTHER[0], (12, b"\x3c")], b"x"), "4.15", "content format 60")
        check_refusal(ask(router, POST, OTHER, bytes(65)), "4.13", "at most 64 bytes")
        assert upload(router, 1, True, bytes(32), options=OTHER).size1 == 64
        assert dotted(ask(router, POST, [*OTHER, (23, b"\x02")], b"x")) == "2.04"
        check_refusal(ask(router, POST, [*OTHER, (23, b"\x01")], b"x"), "4.02", "option 23")

    def test_uploads_of_one_peer_to_each_are_kept_apart(self, router: Router) -> None:
        upload(router, 0, True, PAYLOAD[:32])
        upload(router, 0, True, PAYLOAD[32:64], options=OTHER)
        assert upload(router, 1, False, b"1").payload == b"1" + PAYLOAD[31::-1]
        assert upload(router, 1, False, b"2", options=OTHER).payload == PAYLOAD[32:34]

    def test_their_uploads_are_bounded_together(self, router: Router) -> None:
        upload(router, 0, True, bytes(32), peer="first")
        for number in range(UPLOADS):
            upload(router, 0, True, bytes(32), options=OTHER, peer=str(number))
        assert dotted(upload(router, 1, False, b"", peer="first")) == "4.08"
        assert dotted(upload(router, 1, False, b"", options=OTHER, peer="0")) == "2.04"
