"""CBOR diagnostic notation (RFC 8949 section 8) of items whose encoding dpe_coap.cbor has checked."""

import json
import struct

from dpe_coap import cbor

_SIMPLE = {20: "false", 21: "true", 22: "null", 23: "undefined"}
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}


def text(value: str) -> str:
    """Return a peer's text as a quoted string of printable ASCII, which cannot move a terminal's cursor."""
    return json.dumps(value).replace("\x7f", "\\u007f")


def item(data: bytes, start: int) -> tuple[str, int]:
    """Return the notation of the item at ``start``, and the offset behind it."""
    argument, position = cbor.head(data, start)
    major = data[start] >> 5
    if major == cbor.UNSIGNED:
        return str(argument), position
    if major == cbor.NEGATIVE:
        return str(-1 - argument), position
    if major in (cbor.BYTES, cbor.TEXT):
        end = position + argument
        content = data[position:end]
        return (f"h'{content.hex()}'" if major == cbor.BYTES else text(content.decode())), end
    if major == cbor.SIMPLE:
        info = data[start] & 31
        if info in _FLOATS:
            return repr(struct.unpack(_FLOATS[info], data[start + 1 : position])[0]).replace(
                "inf", "Infinity"
            ), position
        return _SIMPLE.get(argument, f"simple({argument})"), position
    parts = []
    for _ in range({cbor.ARRAY: argument, cbor.MAP: 2 * argument, cbor.TAG: 1}[major]):
        part, position = item(data, position)
        parts.append(part)
    if major == cbor.ARRAY:
        return f"[{', '.join(parts)}]", position
    if major == cbor.MAP:
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return f"{{{', '.join(f'{key}: {value}' for key, value in pairs)}}}", position
    return f"{argument}({parts[0]})", position
