"""CoAP requests out of datagrams, strictly (RFC 7252 sections 3, 4.2, 4.3 and 5.4).

Any bytes give a request, an acknowledgement or ``Rejected``, and nothing else, in time and memory bounded by their
length. aiocoap's own reader will not do: it accepts unknown critical options and repeated ones, and raises on text that
is not UTF-8.
"""

from dataclasses import dataclass
from enum import IntEnum

from dpe_server.coap.options import LENGTHS, MOST_OPTIONS, REPEATABLE, Block, Option


class Type(IntEnum):
    """Message types (RFC 7252 section 4.3)."""

    CON = 0
    NON = 1
    ACK = 2
    RST = 3


class Method(IntEnum):
    """The methods of RFC 7252 section 5.8, by code."""

    GET = 0x01
    POST = 0x02
    PUT = 0x03
    DELETE = 0x04


METHODS = frozenset(Method)
POSTS = {bytes([1 << 6 | Type.CON << 4 | length, Method.POST]): 4 + length for length in range(9)}
"""Where the options of a confirmable POST begin, by its first two bytes: its CoAP token has 0 to 8 bytes."""


class Rejected(Exception):
    """A datagram that is not to be processed. ``reset`` is the message ID of the Reset that answers it, or None."""

    def __init__(self, reset: int | None) -> None:
        super().__init__("not a request that can be processed")
        self.reset = reset


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """An empty message that ends one of our own confirmable messages."""

    type: Type
    message_id: int


@dataclass(frozen=True, slots=True)
class CoapRequest:
    """A well-formed request. Text stays as bytes: nothing here needs it decoded."""

    type: Type
    code: int
    message_id: int
    coap_token: bytes
    path: tuple[bytes, ...]
    query: tuple[bytes, ...]
    accept: int | None
    content_format: int | None
    block1: Block | None
    block2: Block | None
    size1: int | None
    request_tag: tuple[bytes, ...]
    proxied: bool
    """It asks for a forward proxy (RFC 7252 section 5.10.2)."""
    oscore: bytes | None
    """The value of the OSCORE option (RFC 8613 section 2)."""
    unrecognized: int | None
    """The first critical option that is not recognised. A non-confirmable request with one is rejected."""
    payload: bytes


def parse(datagram: bytes) -> CoapRequest | Acknowledgement:
    """Read one datagram; Rejected when it must not be processed."""
    if len(datagram) < 4 or datagram[0] >> 6 != 1:
        raise Rejected(None)  # section 3: unknown versions are ignored in silence
    kind = Type(datagram[0] >> 4 & 3)
    code = datagram[1]
    message_id = datagram[2] << 8 | datagram[3]
    rejected = Rejected(message_id if kind is Type.CON else None)
    token_length = datagram[0] & 15
    if code == 0:  # section 4.1: an empty message is just a header; a confirmable one is a ping: answer Reset
        if kind in (Type.CON, Type.NON) or len(datagram) != 4:
            raise rejected
        return Acknowledgement(kind, message_id)
    start = 4 + token_length
    if code > 31 or kind in (Type.ACK, Type.RST) or token_length > 8 or start > len(datagram):
        raise rejected
    options, unrecognized, payload = read_options(datagram, start, rejected)
    if unrecognized is not None and kind is Type.NON:
        raise Rejected(message_id)  # section 5.4.1
    return CoapRequest(
        type=kind,
        code=code,
        message_id=message_id,
        coap_token=datagram[4:start],
        path=tuple(options.get(Option.URI_PATH, ())),
        query=tuple(options.get(Option.URI_QUERY, ())),
        accept=_uint(options.get(Option.ACCEPT)),
        content_format=_uint(options.get(Option.CONTENT_FORMAT)),
        block1=_block(options.get(Option.BLOCK1)),
        block2=_block(options.get(Option.BLOCK2)),
        size1=_uint(options.get(Option.SIZE1)),
        request_tag=tuple(options.get(Option.REQUEST_TAG, ())),
        proxied=Option.PROXY_URI in options or Option.PROXY_SCHEME in options,
        oscore=options.get(Option.OSCORE, [None])[0],
        unrecognized=unrecognized,
        payload=payload,
    )


def read_options(datagram: bytes, at: int, rejected: Exception) -> tuple[dict[int, list[bytes]], int | None, bytes]:
    """Return the recognised options, the first critical one that is not recognised, and the payload (section 3.1).

    The options begin at offset ``at``. Raises ``rejected`` if the bytes are no options and payload.
    """
    options: dict[int, list[bytes]] = {}
    unrecognized: int | None = None
    number = count = 0
    end = len(datagram)
    while at < end:
        first = datagram[at]
        at += 1
        if first == 0xFF:
            if at == end:  # section 3: a marker with nothing after it
                raise rejected
            return options, unrecognized, datagram[at:]
        count += 1
        if count > MOST_OPTIONS:
            raise rejected
        delta, at = _extended(datagram, first >> 4, at, rejected)
        length, at = _extended(datagram, first & 15, at, rejected)
        number += delta
        if at + length > end or number > 0xFFFF:
            raise rejected
        value = datagram[at : at + length]
        at += length
        # Sections 5.4.3 and 5.4.5: a value of the wrong length, or one occurrence too many, counts as not recognised.
        shortest, longest = LENGTHS.get(number, (1, 0))
        if shortest <= length <= longest and (number not in options or number in REPEATABLE):
            options.setdefault(number, []).append(value)
        elif number & 1 and unrecognized is None:
            unrecognized = number
    return options, unrecognized, b""


def _extended(datagram: bytes, nibble: int, at: int, rejected: Exception) -> tuple[int, int]:
    """Read an option's delta or length; return it and where to go on."""
    if nibble < 13:
        return nibble, at
    size = nibble - 12
    if nibble == 15 or at + size > len(datagram):
        raise rejected
    return int.from_bytes(datagram[at : at + size], "big") + (13 if nibble == 13 else 269), at + size


def _uint(values: list[bytes] | None) -> int | None:
    return None if values is None else int.from_bytes(values[0], "big")


def _block(values: list[bytes] | None) -> Block | None:
    number = _uint(values)
    return None if number is None else Block(number >> 4, bool(number & 8), number & 7)
