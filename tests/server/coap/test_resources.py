"""What requests get before the registrar sees them, and block-wise transfers."""

import asyncio

import cbor2
import pytest

from dpe_coap.binding import Code
from dpe_server.coap.datagram import CoapRequest, parse
from dpe_server.coap.resources import UPLOADS, CoapResponse, Resources
from dpe_server.handling.reply import Reply
from tests import coap
from tests.coap import CON, DELETE, DISCOVERY, GET, POST, PUT, REGISTER, Message

PATH = REGISTER[:2]
PAYLOAD = bytes(range(100))


async def reverse(payload: bytes) -> Reply:
    """Stands for the registrar."""
    return Reply.message(Code.CHANGED, payload[::-1])


@pytest.fixture
def resources() -> Resources:
    return Resources(reverse)


def ask(
    resources: Resources, code: int, options: coap.Options, payload: bytes = b"", peer: str = "peer"
) -> CoapResponse:
    request = parse(bytes(Message(CON, code, 1, b"", options, payload)))
    assert isinstance(request, CoapRequest)
    return asyncio.run(resources.answer(request, peer))


def dotted(answer: CoapResponse) -> str:
    return f"{answer.code >> 5}.{answer.code & 31:02d}"


def test_the_registrar_s_reply_is_the_answer(resources: Resources) -> None:
    assert ask(resources, POST, REGISTER, PAYLOAD) == CoapResponse(Code.CHANGED, PAYLOAD[::-1], 60)


REFUSALS = {
    "GET": (GET, REGISTER, b"", "4.05", "POST is"),
    "PUT": (PUT, REGISTER, b"", "4.05", "POST is"),
    "DELETE": (DELETE, REGISTER, b"", "4.05", "POST is"),
    "method 0.31": (31, REGISTER, b"", "4.05", "POST is"),
    "method 0.05 elsewhere": (5, [], b"", "4.05", None),
    "no path": (GET, [], b"", "4.04", None),
    "another path": (POST, [(11, b"dpe")], b"", "4.04", None),
    "a trailing slash": (POST, [*REGISTER, (11, b"")], b"", "4.04", None),
    "a path that is not UTF-8": (GET, [(11, b"\xff\xfe")], b"", "4.04", None),
    "no Content-Format": (POST, PATH, b"x", "4.15", "no content format"),
    "another Content-Format": (POST, [*PATH, (12, b"\x32")], b"x", "4.15", "content format 50"),
    "another Accept": (POST, [*REGISTER, (17, b"\x32")], b"x", "4.06", "accept 50"),
    "a payload of 257 bytes": (POST, REGISTER, bytes(257), "4.13", "at most 256 bytes"),
    "an unknown critical option": (POST, [*REGISTER, (9, b"")], b"x", "4.02", "option 9"),
    "the same on another path": (GET, [(11, b"x"), (9, b"")], b"", "4.02", "option 9"),
    "the same on discovery": (GET, [*DISCOVERY, (5, b"")], b"", "4.02", "option 5"),
    "If-Match": (POST, [*REGISTER, (1, b"")], b"x", "4.02", "option 1"),
    "a query": (POST, [*REGISTER, (15, b"a=b")], b"x", "4.02", "option 15"),
    "Block2 below 256": (POST, [*REGISTER, (23, b"\x03")], b"x", "4.02", "option 23"),
    "the second Block2": (POST, [*REGISTER, (23, b"\x14")], b"x", "4.02", "option 23"),
    "Block2 of exponent 7": (POST, [*REGISTER, (23, b"\x07")], b"x", "4.00", None),
    "Block1 of exponent 7": (POST, [*REGISTER, (27, b"\x07")], b"x", "4.00", None),
    "Proxy-Uri": (GET, [(35, b"coap://other/")], b"", "5.05", None),
    "Proxy-Scheme": (POST, [*REGISTER, (39, b"coap")], b"x", "5.05", None),
    "POST to discovery": (POST, DISCOVERY, b"", "4.05", "GET is"),
    "another Accept on discovery": (GET, [*DISCOVERY, (17, b"\x3c")], b"", "4.06", "accept 60"),
    "Block1 on discovery": (GET, [*DISCOVERY, (27, b"")], b"", "4.02", "option 27"),
    "Block2 beyond discovery": (GET, [*DISCOVERY, (23, b"\x40")], b"", "4.00", "option 23"),
    "Block2 of exponent 7 on discovery": (GET, [*DISCOVERY, (23, b"\x07")], b"", "4.00", None),
}


@pytest.mark.parametrize(("code", "options", "payload", "expected", "detail"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_has_its_code_and_problem_details(
    resources: Resources, code: int, options: coap.Options, payload: bytes, expected: str, detail: str | None
) -> None:
    answer = ask(resources, code, options, payload)
    assert dotted(answer) == expected
    assert answer.content_format == 257
    problem = cbor2.loads(answer.payload)
    assert isinstance(problem[-1], str)
    assert problem.get(-2) == detail
    assert answer.size1 == (256 if expected == "4.13" else None)


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
def test_options_that_change_nothing(resources: Resources, options: coap.Options) -> None:
    assert ask(resources, POST, [*REGISTER, *options], PAYLOAD) == CoapResponse(Code.CHANGED, PAYLOAD[::-1], 60)


def test_a_payload_of_256_bytes_is_taken(resources: Resources) -> None:
    assert ask(resources, POST, REGISTER, bytes(256)).code == Code.CHANGED


def block(number: int, more: bool, exponent: int) -> bytes:
    value = number << 4 | more << 3 | exponent
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def upload(
    resources: Resources, number: int, more: bool, payload: bytes, exponent: int = 1, **other: str
) -> CoapResponse:
    return ask(resources, POST, [*REGISTER, (27, block(number, more, exponent))], payload, **other)


class TestBlockwiseUpload:
    def test_blocks_are_put_together(self, resources: Resources) -> None:
        for number in range(3):
            answer = upload(resources, number, True, PAYLOAD[number * 32 :][:32])
            assert (dotted(answer), answer.block1, answer.payload) == ("2.31", (number, True, 1), b"")
        answer = upload(resources, 3, False, PAYLOAD[96:])
        assert (dotted(answer), answer.block1, answer.payload) == ("2.04", (3, False, 1), PAYLOAD[::-1])

    def test_a_single_block_is_a_whole_payload(self, resources: Resources) -> None:
        assert upload(resources, 0, False, b"abc").payload == b"cba"

    def test_peers_and_request_tags_are_kept_apart(self, resources: Resources) -> None:
        upload(resources, 0, True, PAYLOAD[:32], peer="one")
        upload(resources, 0, True, PAYLOAD[32:64], peer="two")
        tagged = [*REGISTER, (27, block(0, True, 1)), (292, b"t")]
        ask(resources, POST, tagged, bytes(32), peer="one")
        assert upload(resources, 1, False, b"1", peer="one").payload == b"1" + PAYLOAD[31::-1]
        assert upload(resources, 1, False, b"2", peer="two").payload == b"2" + PAYLOAD[63:31:-1]

    def test_a_missing_block_is_4_08(self, resources: Resources) -> None:
        assert dotted(upload(resources, 1, False, b"x")) == "4.08"
        upload(resources, 0, True, bytes(32))
        assert dotted(upload(resources, 2, False, b"x")) == "4.08"

    def test_a_first_block_starts_over(self, resources: Resources) -> None:
        upload(resources, 0, True, bytes(32))
        upload(resources, 0, True, PAYLOAD[:32])
        assert upload(resources, 1, False, b"x").payload == b"x" + PAYLOAD[31::-1]

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
        self, resources: Resources, number: int, more: bool, exponent: int, size: int
    ) -> None:
        answer = upload(resources, number, more, bytes(size), exponent)
        assert (dotted(answer), answer.size1) == ("4.13", 256)

    def test_a_size_1_that_exceeds_256_is_4_13_at_the_first_block(self, resources: Resources) -> None:
        options = [*REGISTER, (27, block(0, True, 1)), (60, b"\x01\x01")]
        assert dotted(ask(resources, POST, options, bytes(32))) == "4.13"

    def test_exactly_256_bytes_are_taken(self, resources: Resources) -> None:
        for number in range(7):
            assert dotted(upload(resources, number, True, bytes(32))) == "2.31"
        assert len(upload(resources, 7, False, bytes(32)).payload) == 256

    @pytest.mark.parametrize(("more", "size"), [(True, 31), (True, 33), (False, 33), (True, 0)])
    def test_a_block_of_the_wrong_size_is_4_00(self, resources: Resources, more: bool, size: int) -> None:
        assert dotted(upload(resources, 0, more, bytes(size))) == "4.00"

    def test_the_oldest_upload_goes_first(self, resources: Resources) -> None:
        for number in range(UPLOADS + 1):
            upload(resources, 0, True, bytes(32), peer=str(number))
        assert dotted(upload(resources, 1, False, b"", peer="0")) == "4.08"
        assert dotted(upload(resources, 1, False, b"", peer="1")) == "2.04"


class TestDiscovery:
    def test_block2_gives_the_links_in_pieces(self, resources: Resources) -> None:
        whole = ask(resources, GET, DISCOVERY)
        assert (dotted(whole), whole.content_format) == ("2.05", 40)
        pieces = []
        for number in range(10):
            answer = ask(resources, GET, [*DISCOVERY, (23, block(number, False, 0))])
            assert answer.block2 is not None
            pieces.append(answer.payload)
            assert len(answer.payload) == 16 or not answer.block2.more
            if not answer.block2.more:
                break
        assert b"".join(pieces) == whole.payload

    def test_block2_beyond_the_end_of_nothing_is_empty(self, resources: Resources) -> None:
        answer = ask(resources, GET, [*DISCOVERY, (15, b"rt=other"), (23, block(0, False, 0))])
        assert (dotted(answer), answer.payload, answer.block2) == ("2.05", b"", (0, False, 0))

    def test_accept_40_is_fine(self, resources: Resources) -> None:
        assert dotted(ask(resources, GET, [*DISCOVERY, (17, b"\x28")])) == "2.05"
