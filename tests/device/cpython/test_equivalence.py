"""The device's codec against the server's: the same messages accepted and refused, the same bytes made."""

import os
import struct
import subprocess
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dpe_coap import messages as server
from dpe_device import messages as device
from tests.device.cpython.codecs import alike, as_fields, of_server
from tests.device.scripted import encode
from tests.device.test_cbor import decode as of_device

EXAMPLES = int(os.environ.get("DPE_EXAMPLES", "300"))

seconds = st.integers(0, 2**32 - 1)
versions = st.builds(server.Version, st.integers(0, 255), st.integers(0, 255))
texts = st.text(st.characters(codec="utf-8"), min_size=1)
firmwares = texts.filter(lambda text: len(text.encode()) <= 32)
uris = texts.filter(lambda text: len(text.encode()) <= 128)
statuses = st.integers(0, 255)


def octets(*sizes: int) -> st.SearchStrategy[bytes]:
    return st.one_of([st.binary(min_size=size, max_size=size) for size in sizes])


requests = st.builds(
    server.Request,
    identity=octets(7, 17),
    version=versions,
    security_token=octets(32),
    x25519_key=st.none() | octets(32),
    firmware=st.none() | firmwares,
)
offers = st.builds(
    server.Response,
    version=versions,
    status=st.just(0),
    security_token=octets(32),
    client_id=octets(7),
    sealed_handle=octets(17),
    x25519_key=st.none() | octets(32),
    retry_after=st.none() | seconds,
)
redirects = st.builds(server.Response, version=versions, status=st.just(6), security_token=octets(32), server_uri=uris)
refusals = st.builds(
    server.Response,
    version=versions,
    status=statuses.filter(lambda status: status not in (0, 6)),
    security_token=octets(32),
    x25519_key=st.none() | octets(32),
    retry_after=st.none() | seconds,
)
successes = st.builds(server.Success, client_id=octets(7), status=statuses, mac=octets(16))
confirms = st.builds(server.Confirm, status=statuses, mac=octets(16), lifetime=st.none() | seconds)
messages = st.one_of(requests, offers, redirects, refusals, successes, confirms)


@settings(max_examples=EXAMPLES)
@given(messages)
def test_the_same_fields_in(message: server.Message) -> None:
    data = server.encode(message)
    fields = as_fields(message)
    assert encode(fields) == data
    assert of_device(data) == (fields if isinstance(message, server.Response | server.Confirm) else None)


@settings(max_examples=EXAMPLES)
@given(octets(32), st.text(max_size=20), requests)
def test_a_request_is_the_server_s_request(device_key: bytes, realm: str, request: server.Request) -> None:
    made = device.make_request(
        device_key,
        realm,
        request.identity,
        request.version,
        request.security_token[:16],
        request.x25519_key,
        request.firmware,
    )
    assert made[:-16] == server.encode(request)[:-16]


@settings(max_examples=EXAMPLES)
@given(octets(32), successes)
def test_a_success_is_the_server_s_success(prk3: bytes, success: server.Success) -> None:
    made = device.make_success(prk3, success.client_id, success.status)
    assert made[:-16] == server.encode(success)[:-16]


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=300))
@example(b"")
def test_any_bytes(data: bytes) -> None:
    alike(data)


@settings(max_examples=EXAMPLES * 3)
@given(messages, st.data())
def test_a_message_with_changed_bytes(message: server.Message, data: st.DataObject) -> None:
    changed = bytearray(server.encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(len(changed) - 1, 80)))
        how = data.draw(st.sampled_from(["set", "insert", "delete"]))
        octet = data.draw(st.integers(0, 255))
        if how == "set":
            changed[at] = octet
        elif how == "insert":
            changed.insert(at, octet)
        elif len(changed) > 1:
            del changed[at]
    alike(bytes(changed))


# One item of CBOR, in any form, good or bad: the value of a label that the message does not define.

heads = st.builds(
    lambda major, size, value: bytes([major << 5 | size]) + value[: {24: 1, 25: 2, 26: 4, 27: 8}.get(size, 0)],
    st.integers(0, 7),
    st.sampled_from([0, 1, 2, 3, 22, 23, 24, 25, 26, 27, 28, 31]),
    st.one_of(
        st.binary(min_size=8, max_size=8),
        st.sampled_from([0, 1, 23, 24, 31, 32, 255, 256, 65535, 65536]).map(lambda n: n.to_bytes(8, "big")),
        st.sampled_from([0, 1, 23, 24, 31, 32, 255]).map(lambda n: bytes([n]) * 8),
    ),
)


def minimal(major: int, value: int) -> bytes:
    """A shortest head."""
    if value < 24:
        return bytes([major << 5 | value])
    size = 0 if value < 1 << 8 else 1 if value < 1 << 16 else 2 if value < 1 << 32 else 3
    return bytes([major << 5 | 24 + size]) + value.to_bytes(1 << size, "big")


_EXPONENTS = {4: [0, 1, 103, 104, 112, 113, 142, 143, 254, 255], 8: [0, 1, 873, 874, 896, 897, 1150, 1151, 2046, 2047]}


@st.composite
def floats(draw: st.DrawFn) -> bytes:
    size = draw(st.sampled_from([4, 8]))
    fraction = {4: 23, 8: 52}[size]
    exponent = draw(st.sampled_from(_EXPONENTS[size]) | st.integers(0, (1 << 8 * size - fraction - 1) - 1))
    bits = draw(st.integers(0, (1 << fraction) - 1))
    zeros = draw(st.integers(0, fraction))
    bits = bits >> zeros << zeros
    sign = draw(st.integers(0, 1))
    value = sign << 8 * size - 1 | exponent << fraction | bits
    return bytes([{4: 0xFA, 8: 0xFB}[size]]) + value.to_bytes(size, "big")


utf8 = st.one_of(
    st.text(max_size=6).map(str.encode),
    st.integers(0x70, 0x120000).map(lambda point: point_octets(point, 0)),
    st.builds(lambda point, longer: point_octets(point, longer), st.integers(0, 0x120000), st.integers(0, 2)),
    st.binary(max_size=6),
)


def point_octets(point: int, longer: int) -> bytes:
    """A code point in the form of UTF-8, whether it may have one or not, in so many octets more than it needs."""
    need = 0 if point < 0x80 else 1 if point < 0x800 else 2 if point < 0x10000 else 3
    more = min(3, need + longer)
    if more == 0:
        return bytes([point])
    lead = (0xC0, 0xE0, 0xF0)[more - 1] | point >> 6 * more
    return bytes([lead]) + bytes([0x80 | point >> 6 * (more - 1 - n) & 0x3F for n in range(more)])


leaves = st.one_of(
    heads,
    floats(),
    st.floats(width=16).map(lambda value: b"\xf9" + struct.pack(">e", value)),
    st.integers(0, 2**64 - 1).map(lambda value: minimal(0, value)),
    st.integers(0, 2**64 - 1).map(lambda value: minimal(1, value)),
    st.binary(max_size=30).map(lambda value: minimal(2, len(value)) + value),
    utf8.map(lambda value: minimal(3, len(value)) + value),
    st.integers(0, 255).map(lambda value: bytes([0xF8, value])),
    st.integers(0xE0, 0xFF).map(lambda value: bytes([value])),
)
items = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: minimal(4, len(parts)) + b"".join(parts)),
        st.lists(st.tuples(inner, inner), max_size=3).map(
            lambda pairs: minimal(5, len(pairs)) + b"".join([key + value for key, value in sorted(pairs)])
        ),
        st.lists(st.tuples(inner, inner), max_size=3).map(
            lambda pairs: minimal(5, len(pairs)) + b"".join([key + value for key, value in pairs])
        ),
        st.builds(lambda tag, value: minimal(6, tag) + value, st.integers(0, 2**32), inner),
    ),
    max_leaves=8,
)


def sequence(pairs: list[tuple[int, bytes]]) -> bytes:
    """CONFIRM with more labels."""
    pairs = sorted([(0, b"\4"), (4, b"\0"), (23, b"\x50" + bytes(16)), *pairs])
    return minimal(5, len(pairs)) + b"".join([minimal(0, label) + item for label, item in pairs])


extended = st.builds(lambda label, item: sequence([(label, item)]), st.sampled_from([1, 3, 5, 7, 8, 11, 22, 24]), items)


@settings(max_examples=EXAMPLES * 10)
@given(extended)
def test_a_message_with_one_more_item(data: bytes) -> None:
    alike(data)


@settings(max_examples=EXAMPLES)
@given(st.lists(st.tuples(st.integers(0, 25), items), max_size=4).map(sequence))
def test_a_message_of_items(data: bytes) -> None:
    alike(data)


def test_on_micropython(micropython: str, root: Path, tmp_path: Path) -> None:
    """The same on MicroPython, over what the strategies draw."""
    lines: list[str] = []

    @settings(max_examples=3000, database=None, derandomize=True)
    @given(st.one_of(extended, extended, messages.map(server.encode)))
    def draw(data: bytes) -> None:
        fields = of_server(data)
        lines.append(f"{data.hex()} {'' if fields is None else encode(fields).hex()}")

    draw()
    accepted = sum(not line.endswith(" ") for line in lines)
    assert accepted > 1000
    assert len(lines) - accepted > 100
    (tmp_path / "corpus").write_text("\n".join(lines))
    program = f"""
import sys
from binascii import hexlify, unhexlify
sys.path[:0] = [{str(root)!r}, {str(root / "device")!r}]
from tests.device.scripted import encode
from tests.device.test_cbor import decode
compared = 0
with open({str(tmp_path / "corpus")!r}) as corpus:
    for line in corpus:
        data, expected = line.rstrip("\\n").split(" ")
        fields = decode(unhexlify(data))
        assert ("" if fields is None else str(hexlify(encode(fields)), "ascii")) == expected, data
        compared += 1
print(compared)
"""
    done = subprocess.run([micropython, "-c", program], capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
    assert done.stdout == f"{len(lines)}\n"


def test_every_head_of_one_and_two_octets() -> None:
    for first in range(256):
        for second in range(256):
            for more in (b"", b"\0", b"\1\2", bytes(7)):
                alike(b"\xa4\0\4\4\0\x0b" + bytes([first, second]) + more + b"\x17\x50" + bytes(16))
