"""A protected message in annotated form (RFC 8613): what is outside, what is authenticated, and what is inside.

Each function yields rows with every byte of what it is given in exactly one of them.
"""

from collections.abc import Iterator, Sequence

from dpe_coap import oscore
from dpe_coap.errors import MalformedMessage, RemoteError
from dpe_server.coap.options import Option
from dpe_tools import annotate_session, diagnostic
from dpe_tools.annotate import ROW, Row
from dpe_tools.datagram import OSCORE, Place, parse, places, said_of

ERROR = 0x80
"""The least CoAP code of an error."""
_COAP = "RFC 7252 section "
_RFC = "RFC 8613 section "
_HEAD = 4
"""Bytes of a CoAP message before its CoAP token."""
_NUMBERS = (Option.URI_PORT, Option.CONTENT_FORMAT, Option.MAX_AGE, Option.ACCEPT, Option.SIZE1)
"""Options whose value is a number."""
_TEXTS = (Option.URI_HOST, Option.URI_PATH, Option.URI_QUERY, Option.PROXY_URI, Option.PROXY_SCHEME)
_CLAUSES = {
    Option.OSCORE: _RFC + "2",
    Option.BLOCK1: "RFC 7959 section 2.1",
    Option.BLOCK2: "RFC 7959 section 2.1",
    Option.REQUEST_TAG: "RFC 9175 section 3.2",
}


def outside(data: bytes) -> Iterator[Row]:
    """Yield the rows of a datagram with an OSCORE option. RemoteError: it is no CoAP message."""
    seen = parse(data)
    start = _HEAD + len(seen.coap_token)
    version = f"version 1, {seen.type}, token of {len(seen.coap_token)}"
    what = "the request's own is inside" if seen.code < 32 else "the response's own is inside"
    yield Row(0, data[:1], version, "header", _COAP + "3")
    yield Row(1, data[1:2], said_of(seen.code), "outer code", f"{what} ({_RFC}4.2)")
    yield Row(2, data[2:_HEAD], str(seen.message_id), "message ID", _COAP + "4.4")
    yield from _long(data, _HEAD, start, "", "CoAP token", _COAP + "5.3.1")
    end = start
    for place in places(data, start):
        end = place.end
        if place.number == OSCORE:
            yield from _oscore(data, place, is_request=seen.code < 32)
        else:
            yield from _option(data, place)
    yield from _marker(data, end)
    yield from _ciphertext(data, end + 1)


def additional_data(client_id: bytes, number: int) -> Iterator[Row]:
    """Yield the rows of what is authenticated beside the ciphertext, as ``oscore.additional_data`` makes it."""
    data = oscore.additional_data(client_id, number)
    iv = oscore.partial_iv(number)
    external = 7 + len(client_id) + len(iv)
    yield from _rows_of(
        data,
        (
            (1, "[", "Encrypt0_structure", "array of 3 (RFC 9052 section 5.3)"),
            (9, '  "Encrypt0",', "context", ""),
            (1, "  h'',", "protected", "empty"),
            (2, "  <<[", "external_aad", f"{external} bytes, an array of 5 ({_RFC}5.4)"),
            (1, "    1,", "oscore_version", ""),
            (2, "    [10],", "algorithms", "AES-CCM-16-64-128 (RFC 9053 section 4.2)"),
            (1 + len(client_id), f"    h'{client_id.hex()}',", "request_kid", "the Client ID"),
            (1 + len(iv), f"    h'{iv.hex()}',", "request_piv", f"the request's number, {number}"),
            (1, "    h''", "options", "none of class I"),
            (0, "  ]>>", "", ""),
            (0, "]", "", ""),
        ),
    )


def nonce(data: bytes, client_id: bytes, number: int) -> Iterator[Row]:
    """Yield the rows of a nonce: of a request, and of the response to it."""
    pads = oscore.MAX_ID - len(client_id)
    yield from _rows_of(
        data,
        (
            (1, f"{len(client_id)} ^ Common IV", "size of the kid", _RFC + "5.2"),
            (pads + len(client_id), f"{client_id.hex()} ^ Common IV", "kid", "the Client ID"),
            (oscore.SIZE_PARTIAL_IV, f"{number} ^ Common IV", "Partial IV", "the request's number"),
        ),
    )


def inside(plaintext: bytes) -> Iterator[Row]:
    """Yield the rows of what was encrypted. MalformedMessage says where it stops being a message of a session."""
    try:
        found = list(places(plaintext, 1))
    except IndexError:
        raise MalformedMessage("an option is cut short", offset=len(plaintext)) from None
    if not plaintext:
        raise MalformedMessage("no code", offset=0)
    payload = 1 + (found[-1].end if found else 1)
    kind = None
    if payload <= len(plaintext):
        if payload == len(plaintext):
            raise MalformedMessage("no payload behind the payload marker", offset=payload)
        kind = annotate_session.kind_of(plaintext[0], _content_format(plaintext, found))
        if kind is not None:
            try:
                annotate_session.check(plaintext[payload:], kind)
            except MalformedMessage as error:
                raise MalformedMessage(error.fault, offset=payload + error.offset, key=error.key) from None
    yield Row(0, plaintext[:1], said_of(plaintext[0]), "inner code", _RFC + "5.3")
    for place in found:
        yield from _option(plaintext, place)
    yield from _marker(plaintext, payload - 1)
    if kind is None:
        yield from _long(plaintext, payload, len(plaintext), "", "payload", "of no kind that a session has")
        return
    for row in annotate_session.rows(plaintext[payload:], kind):
        yield Row(payload + row.offset, row.data, row.notation, row.name, row.meaning)


def title(plaintext: bytes) -> str:
    """Return what was encrypted in words: ``POST /dpe``, ``2.04 Changed``."""
    try:
        return parse(bytes([0x40]) + plaintext[:1] + bytes(2) + plaintext[1:]).title.removeprefix("CON ")
    except RemoteError:
        return "not a CoAP message"


def _rows_of(data: bytes, parts: Sequence[tuple[int, str, str, str]]) -> Iterator[Row]:
    at = 0
    for size, notation, name, meaning in parts:
        yield from _long(data, at, at + size, notation, name, meaning, empty=True)
        at += size


def _long(
    data: bytes, start: int, end: int, notation: str, name: str, meaning: str, *, empty: bool = False
) -> Iterator[Row]:
    """Yield rows of ROW bytes, of which the first has the words; none if there is no byte, unless it may be empty."""
    if end > start or empty:
        yield Row(start, data[start : min(start + ROW, end)], notation, name, meaning)
    for at in range(start + ROW, end, ROW):
        yield Row(at, data[at : min(at + ROW, end)], "")


def _marker(data: bytes, at: int) -> Iterator[Row]:
    yield from _long(data, at, min(at + 1, len(data)), "", "payload marker", _COAP + "3")


def _option(data: bytes, place: Place) -> Iterator[Row]:
    """Yield the rows of an option: its head and its value."""
    value = data[place.value : place.end]
    if place.number in _TEXTS:
        shown = diagnostic.text(value.decode("ascii", "backslashreplace"))
    elif place.number in _NUMBERS:
        shown = str(int.from_bytes(value, "big"))
    else:
        shown = f"h'{value.hex()}'"
    known = place.number in list(Option)
    name = Option(place.number).name.title().replace("_", "-") if known else f"option {place.number}"
    clause = _CLAUSES.get(Option(place.number), _COAP + "5.10") if known else "not of a session"
    yield from _long(data, place.start, place.end, shown, name, clause)


def _oscore(data: bytes, place: Place, *, is_request: bool) -> Iterator[Row]:
    """Yield the rows of the OSCORE option."""
    size = place.end - place.value
    value = data[place.value : place.end]
    if not is_request and not value:
        clause = f"the number and the IDs are those of the request ({_RFC}5.2)"
        yield Row(place.start, data[place.start : place.value], "option 9, empty", "OSCORE", clause)
        return
    yield Row(place.start, data[place.start : place.value], f"option 9, {size} bytes", "OSCORE", _RFC + "2")
    flags = place.value + min(1, size)
    yield from _long(data, place.value, flags, _flags(value), "flags", _RFC + "6.1")
    try:
        client_id, number = oscore.read_option(value)
        if not is_request:
            raise RemoteError("a server of DPE sends an empty one")
    except RemoteError as error:
        yield from _long(data, flags, place.end, "", "not of a DPE session", str(error), empty=True)
        return
    kid = place.end - len(client_id)
    yield Row(flags, data[flags:kid], str(number), "Partial IV", f"the request's number ({_RFC}6.1)")
    yield Row(kid, data[kid : place.end], f"h'{client_id.hex()}'", "kid", f"the Client ID ({_RFC}6.1)")


def _flags(value: bytes) -> str:
    flags = value[0] if value else 0
    said = [f"Partial IV of {flags & 7}"]
    said += ["kid"] if flags & oscore.KID else []
    said += ["kid context"] if flags & 0x10 else []
    return ", ".join(said) + (", reserved" if flags & 0xE0 else "")


def _ciphertext(data: bytes, start: int) -> Iterator[Row]:
    """Yield the rows of ciphertext and tag."""
    tag = max(start, len(data) - oscore.SIZE_TAG)
    yield from _long(data, start, tag, "", "ciphertext", f"{tag - start} bytes ({_RFC}5.3)")
    yield from _long(data, tag, len(data), "", "tag", "AES-CCM-16-64-128 (RFC 9053 section 4.2)")


def _content_format(data: bytes, found: Sequence[Place]) -> int | None:
    for place in found:
        if place.number == Option.CONTENT_FORMAT:
            return int.from_bytes(data[place.value : place.end], "big")
    return None
