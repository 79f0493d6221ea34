"""Any bytes as the OSCORE option of a request give a Client ID and a number, whose only encoding they are, or an error
with the code that the protocol names; the lane takes no option that the router refuses."""

import cbor2

from dpe_coap import oscore
from dpe_coap.binding import Code
from dpe_coap.errors import RemoteError
from dpe_server.coap.protected import named, plain
from tests.coap import CON, POST, Message

LONGEST = 24
WORDS = (b"\x09", b"\x0a", b"\x0b", b"\x0c", b"\x0d", b"\x0e", b"\x19", b"\x29", b"\x49", b"\x89", b"\x01", b"\xff" * 5)
OSCORE = 9
CLIENT_ID = bytes.fromhex("58462deb908078")


def seeds() -> list[bytes]:
    """Options of one to six bytes of Partial IV; with a context, without a kid, and with bits that mean nothing."""
    numbers = [b"\0", b"\5", b"\1\0", b"\xff\xff\xff", b"\1\0\0\0", b"\xff" * 5, b"\1" + bytes(5), b"\0\5", b""]
    good = [bytes([8 | len(number)]) + number + CLIENT_ID for number in numbers]
    return [*good, b"", b"\x01\5", b"\x19\5\0" + CLIENT_ID, b"\x29\5" + CLIENT_ID, good[0][:-1], good[0] + b"x"]


def check(data: bytes) -> None:
    """Compare with the rules, written down again, and with the additional data as cbor2 encodes it."""
    expected = _code(data)
    datagram = bytes(Message(CON, POST, 1, b"", [(OSCORE, data)], b"x"))
    taken = plain(datagram, 4)
    try:
        client_id, number = oscore.read_option(data)
    except RemoteError as error:
        assert error.code == expected
        assert taken is None
        assert len(str(error)) <= 120
        return
    assert expected is None
    assert oscore.option(client_id, number) == data
    partial_iv = data[1:-7]
    assert oscore.partial_iv(number) == partial_iv
    external = cbor2.dumps([1, [10], client_id, partial_iv, b""])
    assert oscore.additional_data(client_id, number) == cbor2.dumps(["Encrypt0", b"", external])
    if len(partial_iv) < oscore.SIZE_PARTIAL_IV:
        assert taken == data + b"\xffx"
        assert named(datagram, 4) == client_id
    else:
        assert taken is None
    zero = oscore.nonce(bytes(13), client_id, 0)
    assert oscore.numbered(zero, number) == oscore.nonce(bytes(13), client_id, number)
    assert oscore.nonce(bytes(13), client_id, number) == b"\7" + client_id + partial_iv.rjust(5, b"\0")


def _code(data: bytes) -> Code | None:
    """Return what refuses an option (section 2 of the protocol's page); None for a good one."""
    size = data[0] & 7 if data else 0
    if not 1 <= size <= 5 or data[0] & 0xE0 or not data[0] & 8 or len(data) < 1 + size:
        return Code.BAD_OPTION
    if size > 1 and data[1] == 0:
        return Code.BAD_OPTION
    return Code.UNAUTHORIZED if data[0] & 0x10 or len(data) != 1 + size + 7 else None
