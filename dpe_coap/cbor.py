"""A strict reader of one CBOR map, which accepts deterministic encoding only (RFC 8949 section 4.2.1).

It finds the fields of a message and checks the encoding on the way. It builds no value that nobody asked for, because a
general decoder would run its tag handlers on a stranger's bytes.
"""

from dpe_coap.binding import MAX_PAYLOAD
from dpe_coap.errors import MalformedMessage, TooLarge
from dpe_coap.numbers import LABEL_SECURITY_TOKEN

UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)

MAX_DEPTH = 4
"""How deep arrays, maps and tags may nest in the value of a field."""

_SMALLEST = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}  # argument that needs 1, 2, 4 or 8 bytes
# Floats that may have a shorter form. By head: mantissa bits and exponent bias, then those of the next shorter format.
_FLOATS = {26: (23, 127, 10, 15), 27: (52, 1023, 23, 127)}


def fields(
    data: bytes, *, longest: int = MAX_PAYLOAD, last_label: int = LABEL_SECURITY_TOKEN
) -> dict[int, tuple[int, int]]:
    """Return the byte offsets at which the value of each label of the map ``data`` starts and ends.

    Labels are 0 to ``last_label``, in ascending order. Raises MalformedMessage for everything except one
    deterministically encoded map of at most ``longest`` bytes. Takes time linear in the length.
    """
    if not data:
        raise MalformedMessage("no item: the message is empty", offset=0)
    if data[0] >> 5 != MAP:
        raise MalformedMessage("not a map", offset=0)
    if len(data) > longest:
        raise TooLarge(f"longer than {longest} bytes", offset=longest)
    try:
        count, position = head(data, 0)
        found: dict[int, tuple[int, int]] = {}
        last = -1
        for _ in range(count):
            label, value = head(data, position)
            if data[position] >> 5 != UNSIGNED or label > last_label:
                raise MalformedMessage(f"a key is not an unsigned number up to {last_label}", offset=position)
            if label <= last:
                raise MalformedMessage("duplicate or unordered key", offset=position, key=label)
            position = skip(data, value)
            found[label] = (value, position)
            last = label
    except IndexError:
        raise MalformedMessage("truncated", offset=len(data)) from None
    if position != len(data):
        raise MalformedMessage("bytes after the map", offset=position)
    return found


def head(data: bytes, position: int) -> tuple[int, int]:
    """Return the argument of the head at ``position``, and the offset behind it.

    Raises MalformedMessage for a head that is not deterministic, and IndexError if the data ends within the head.
    """
    info = data[position] & 31
    position += 1
    if info < 24:
        return info, position
    if info > 27:
        fault = "indefinite length" if info == 31 else "reserved additional information"
        raise MalformedMessage(fault, offset=position - 1)
    end = position + (1 << info - 24)
    data[end - 1]
    argument = int.from_bytes(data[position:end], "big")
    if argument < _SMALLEST[info] and data[position - 1] >> 5 != SIMPLE:
        raise MalformedMessage("non-shortest head", offset=position - 1)
    return argument, end


def skip(data: bytes, start: int, depth: int = 0) -> int:
    """Check the encoding of the item at ``start``, and return the offset behind it.

    Raises MalformedMessage if it is not deterministic, and IndexError if the data ends within the item.
    """
    argument, position = head(data, start)
    major = data[start] >> 5
    if major in (BYTES, TEXT):
        end = position + argument
        if end > len(data):
            raise IndexError
        if major == TEXT:
            try:
                data[position:end].decode()
            except UnicodeDecodeError as error:
                raise MalformedMessage("text is not UTF-8", offset=position + error.start) from None
        return end
    if major in (ARRAY, MAP, TAG):
        if depth == MAX_DEPTH:
            raise MalformedMessage(f"nested deeper than {MAX_DEPTH}", offset=start)
        last = b""
        for _ in range(1 if major == TAG else argument):
            if major == MAP:
                end = skip(data, position, depth + 1)
                if data[position:end] <= last:
                    raise MalformedMessage("duplicate or unordered key", offset=position)
                last = data[position:end]
                position = end
            position = skip(data, position, depth + 1)
        return position
    if major == SIMPLE:
        info = data[start] & 31
        if info == 24 and argument < 32:
            raise MalformedMessage("non-shortest head", offset=start)
        if info in _FLOATS and _shortens(argument, *_FLOATS[info]):
            raise MalformedMessage("non-shortest float", offset=start)
    return position


def _shortens(bits: int, mantissa_bits: int, bias: int, short_mantissa_bits: int, short_bias: int) -> bool:
    """Return whether the float ``bits`` keeps its value, or its NaN payload, in the next shorter format."""
    mantissa = bits & (1 << mantissa_bits) - 1
    exponent = bits >> mantissa_bits & 2 * bias + 1
    lost = mantissa_bits - short_mantissa_bits
    if exponent == 0:
        return mantissa == 0
    if exponent != 2 * bias + 1:
        power = exponent - bias
        if power > short_bias:
            return False
        if power <= -short_bias:  # subnormal in the shorter format: the leading one becomes a bit of the mantissa
            lost += 1 - short_bias - power
            mantissa |= 1 << mantissa_bits
    return mantissa & (1 << lost) - 1 == 0
