"""What is wrong with a message, and where: every fault by its words, its offset and the label of its field."""

import pytest

from dpe_coap.errors import LocalError, MalformedMessage
from dpe_coap.messages import Request, Response, Version, decode, encode


@pytest.mark.parametrize("payload", ["a1006161", "a2000102826158", "a200010282615b00", "a2000102825b5b"])
def test_a_short_end_is_a_typed_error(payload: str) -> None:
    with pytest.raises(MalformedMessage):
        decode(bytes.fromhex(payload))


ZEROS = "00" * 32
WITH = "is there exactly when the status is"


@pytest.mark.parametrize(
    ("payload", "fault", "offset", "key"),
    [
        ("a10400", "message type missing", 0, 0),
        ("a10041ff", "message type is of a wrong type, not an unsigned number", 2, 0),
        ("a10020", "message type is of a wrong type, not an unsigned number", 2, 0),
        ("a10000", "unknown message type", 2, 0),
        ("a10005", "unknown message type", 2, 0),
        ("a1001818", "unknown message type", 2, 0),
        ("a30001 0141ff 02820100", "identity length is 1, not 17 or 7 bytes", 4, 1),
        ("a30001 010a 02820100", "identity is of a wrong type, not a byte string", 4, 1),
        ("a20001 02820100", "identity missing", 7, 1),
        ("a20002 02820118ff", "status missing", 8, 4),
        ("a20002 0402", "version missing", 5, 2),
        ("a40002 02820100 0402 0640", "X25519 key length is 0, not 32 bytes", 10, 6),
        ("a40002 02820100 0402 0a20", "retry after is of a wrong type, not an unsigned number", 10, 10),
        ("a20003 0340", "Client ID length is 0, not 7 bytes", 4, 3),
        ("a20003 0402", "Client ID missing", 5, 3),
        ("a30004 0400 0940", "lifetime is of a wrong type, not an unsigned number", 6, 9),
        (f"a50002 02820100 0347{'00' * 7} 0402 175820{ZEROS}", f"Client ID {WITH} 0", 8, 3),
        (f"a40002 02820100 0400 175820{ZEROS}", f"Client ID {WITH} 0", 44, 3),
        (f"a40002 02820100 0406 175820{ZEROS}", f"server URI {WITH} 6", 44, 8),
        # nothing goes with the status
        (f"a50002 02820100 0400 086178 175820{ZEROS}", f"Client ID {WITH} 0", 47, 3),
        (f"a60002 02820100 0347{'00' * 7} 0406 0551{'00' * 17} 175820{ZEROS}", f"Client ID {WITH} 0", 8, 3),
        ("a20002 028101", "version is not two numbers of 0 to 255", 6, 2),
        ("a20002 0280", "version is not two numbers of 0 to 255", 5, 2),
        ("a20002 0283010000", "version is not two numbers of 0 to 255", 7, 2),
        ("a20002 028201190100", "version is not two numbers of 0 to 255", 6, 2),
        ("a20002 02820120", "version is not two numbers of 0 to 255", 6, 2),
        ("a20002 0200", "version is of a wrong type, not an array", 4, 2),
        ("a20002 02 80", "version is not two numbers of 0 to 255", 5, 2),
        ("a30002 02820100 04190100", "status is 256, not 0 to 255", 8, 4),
        ("a40002 02820100 0402 0860", "server URI length is 0, not 1 to 128 bytes", 10, 8),
        ("a40002 02820100 0402 0841ff", "server URI is of a wrong type, not text", 10, 8),
        ("a20004 0400", "security token missing", 5, 23),
        ("a30004 0400 1740", "security token length is 0, not 16 bytes", 6, 23),
        ("a40002 02820100 0402", "truncated", 9, None),
        ("a10418", "truncated", 3, None),
        ("a10419", "truncated", 3, None),
        ("a1041901", "truncated", 4, None),
        ("a1041bff", "truncated", 4, None),
        ("", "no item: the message is empty", 0, None),
        ("80", "not a map", 0, None),
        ("a10400ff", "bytes after the map", 3, None),
        ("a14100", "a key is not an unsigned number up to 23", 1, None),
        ("a1181800", "a key is not an unsigned number up to 23", 1, None),
        ("a1f600", "a key is not an unsigned number up to 23", 1, None),
        ("a204000400", "duplicate or unordered key", 3, 4),
        ("a204000300", "duplicate or unordered key", 3, 3),
        ("a1041c", "reserved additional information", 2, None),
        ("a1041f", "indefinite length", 2, None),
        ("a1041817", "non-shortest head", 2, None),
        ("bf0400ff", "indefinite length", 0, None),
        ("a104f817", "non-shortest head", 2, None),
        ("a104fa3f800000", "non-shortest float", 2, None),
        ("a1046261ff", "text is not UTF-8", 4, None),
        ("a104818181818100", "nested deeper than 4", 6, None),
        ("a104a200000000", "duplicate or unordered key", 5, None),
    ],
)
def test_what_is_wrong_where_is_said(payload: str, fault: str, offset: int, key: int | None) -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode(bytes.fromhex(payload))
    assert (caught.value.fault, caught.value.offset, caught.value.key) == (fault, offset, key)


def test_a_text_of_another_length_than_its_head_says() -> None:
    """The quick way's pattern takes it for text at first."""
    good = encode(Request(bytes(17), Version(1, 0), bytes(32), firmware="1.2"))
    for head in (b"\x62", b"\x64"):
        payload = good.replace(b"\x07\x63", b"\x07" + head)
        assert payload != good
        with pytest.raises(MalformedMessage):
            decode(payload)


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (
            Response(version=Version(1, 0), status=2, security_token=bytes(32), client_id=bytes(7)),
            "Client ID is there exactly when the status is 0",
        ),
        (
            Response(version=Version(1, 0), status=0, security_token=bytes(32), client_id=bytes(7)),
            "sealed handle is there exactly when the status is 0",
        ),
        (
            Response(version=Version(1, 0), status=2, security_token=bytes(32), server_uri="x"),
            "server URI is there exactly when the status is 6",
        ),
        (
            Response(version=Version(1, 0), status=6, security_token=bytes(32)),
            "server URI is there exactly when the status is 6",
        ),
    ],
    ids=str,
)
def test_what_does_not_go_with_the_status_is_said(message: Response, fault: str) -> None:
    with pytest.raises(LocalError, match=f"cannot encode this Response: {fault}") as caught:
        encode(message)
    error = caught.value.__cause__
    assert isinstance(error, MalformedMessage)
    assert error.fault == fault
