"""The messages: they round-trip, and any bytes give a message or one typed error."""

import math
import struct
from dataclasses import replace
from pathlib import Path

import cbor2
import pycddl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import dpe_coap
from dpe_coap import cbor
from dpe_coap import messages as messages_module
from dpe_coap.errors import LocalError, MalformedMessage
from dpe_coap.messages import (
    SIZE_NONCE,
    Confirm,
    Message,
    Request,
    Response,
    Success,
    Version,
    decode,
    decode_strictly,
    encode,
)
from dpe_coap.numbers import MAX_SECONDS, Status

SCHEMA = pycddl.Schema((Path(dpe_coap.__file__).parent / "dpe1.cddl").read_text(encoding="utf-8"))

versions = st.builds(Version, st.integers(0, 255), st.integers(0, 255))
long_tokens = st.binary(min_size=32, max_size=32)
macs = st.binary(min_size=16, max_size=16)
client_ids = st.binary(min_size=7, max_size=7)
x25519_keys = st.none() | st.binary(min_size=32, max_size=32)
statuses = st.integers(0, 255)
seconds = st.none() | st.integers(0, MAX_SECONDS)


def texts(longest: int) -> st.SearchStrategy[str]:
    return st.text(min_size=1, max_size=longest).filter(lambda text: len(text.encode()) <= longest)


requests = st.builds(
    Request,
    identity=st.binary(min_size=17, max_size=17) | st.binary(min_size=7, max_size=7),
    version=versions,
    security_token=long_tokens,
    x25519_key=x25519_keys,
    firmware=st.none() | texts(32),
)


@st.composite
def responses(draw: st.DrawFn) -> Response:
    status = draw(statuses)
    ok = status == Status.OK
    return Response(
        version=draw(versions),
        status=status,
        security_token=draw(long_tokens),
        client_id=draw(client_ids) if ok else None,
        sealed_handle=draw(st.binary(min_size=17, max_size=17)) if ok else None,
        x25519_key=draw(x25519_keys),
        server_uri=draw(texts(100)) if status == Status.REDIRECT else None,
        retry_after=draw(seconds),
    )


successes = st.builds(Success, client_ids, statuses, macs)
messages = st.one_of(requests, responses(), successes, st.builds(Confirm, statuses, macs, seconds))


def values(message: Message) -> dict[int, object]:
    loaded: dict[int, object] = cbor2.loads(encode(message))
    return loaded


@given(messages)
def test_round_trip(message: Message) -> None:
    payload = encode(message)
    assert decode(payload) == message
    SCHEMA.validate_cbor(payload)
    assert payload == cbor2.dumps(cbor2.loads(payload), canonical=True)
    mac = message.mac if isinstance(message, Success | Confirm) else message.security_token[16:]
    assert payload[-16:] == mac


@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_or_one_error(payload: bytes) -> None:
    try:
        message = decode(payload)
    except MalformedMessage as error:
        assert 0 <= error.offset <= len(payload)
        assert str(error.offset) in error.place
    else:
        assert encode(message) == payload


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    payload = bytearray(encode(draw(messages)))
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(payload)))
        match draw(st.sampled_from(["change", "insert", "delete", "cut"])):
            case "change":
                payload[position : position + 1] = draw(st.binary(min_size=1, max_size=1))
            case "insert":
                payload[position:position] = draw(st.binary(min_size=1, max_size=9))
            case "delete":
                del payload[position : position + draw(st.integers(1, 9))]
            case _:
                del payload[position:]
    return bytes(payload)


@given(mutated())
def test_what_is_accepted_is_deterministic_cbor(payload: bytes) -> None:
    """Whatever we accept, a general decoder reads as the same fields, and no other bytes say the same."""
    try:
        message = decode(payload)
    except MalformedMessage as error:
        assert 0 <= error.offset <= len(payload)
        return
    known = values(message)
    assume(len(cbor.fields(payload)) == len(known))  # else unknown labels, which are another test's
    assert cbor2.loads(payload) == known
    assert encode(message) == payload


@given(messages.map(encode) | mutated())
def test_the_quick_way_and_the_strict_way_agree(payload: bytes) -> None:
    outcomes: list[object] = []
    for way in (decode, decode_strictly):
        try:
            outcomes.append(way(payload))
        except MalformedMessage as error:
            outcomes.append((error.fault, error.offset, error.key))
    assert outcomes[0] == outcomes[1]
    assert type(outcomes[0]) is type(outcomes[1])


@given(requests | successes)
def test_every_message_of_a_client_goes_the_quick_way(message: Message) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dpe_coap.messages.decode_strictly", None)
        assert decode(encode(message)) == message


def test_what_has_the_shape_and_is_not_the_message_goes_the_strict_way() -> None:
    redirect = Response(
        version=Version(1, 0), status=Status.REDIRECT, security_token=bytes(32), server_uri="coap://a", retry_after=5
    )
    assert decode(encode(redirect)) == redirect  # as a shape the text could end behind the time
    plain = encode(replace(redirect, retry_after=None))
    with pytest.raises(MalformedMessage, match="exactly when the status is 0"):
        decode(plain.replace(b"\x04\x06\x08", b"\x04\0\x08"))  # no field goes with its status
    request = encode(Request(bytes(17), Version(1, 0), bytes(32), firmware="a"))
    with pytest.raises(MalformedMessage, match="UTF-8"):
        decode(request.replace(b"\x07\x61a", b"\x07\x61\xff"))


scalars = (
    st.integers(0, 2**64 - 1)
    | st.integers(-(2**64), -1)
    | st.binary(max_size=6)
    | st.text(max_size=6)
    | st.sampled_from([False, True, None, cbor2.undefined, cbor2.CBORSimpleValue(99)])
    | st.floats(allow_nan=False)
)
items = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.integers(0, 1000), inner, max_size=3)
        | st.builds(cbor2.CBORTag, st.integers(60_000, 2**40), inner)
    ),
    max_leaves=4,
)


@given(messages, st.dictionaries(st.integers(11, 22), items, min_size=1, max_size=2))
def test_unknown_labels_are_ignored(message: Message, more: dict[int, object]) -> None:
    fields = values(message) | more
    payload = cbor2.dumps(dict(sorted(fields.items())), canonical=True)
    assume(len(payload) <= 256)
    assume(max(map(depth, more.values())) <= cbor.MAX_DEPTH)
    assert decode(payload) == message


def depth(item: object) -> int:
    match item:
        case list():
            return 1 + max(map(depth, item), default=0)
        case dict():
            return 1 + max(map(depth, item.values()), default=0)
        case cbor2.CBORTag():
            return 1 + depth(item.value)
    return 0


CONFIRM = bytes.fromhex("a40004040016")  # ... then the value of label 22, then the MAC


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("81818181 00", None),
        ("8181818181 00", "nested deeper"),
        ("c1c1c1c1c1 00", "nested deeper"),
        ("a181818100 00", None),
        ("a18181818100 00", "nested deeper"),
        ("1817", "non-shortest"),
        ("1818", None),
        ("1900ff", "non-shortest"),
        ("190100", None),
        ("1a0000ffff", "non-shortest"),
        ("1a00010000", None),
        ("1b00000000ffffffff", "non-shortest"),
        ("1b0000000100000000", None),
        ("5801 00", "non-shortest"),
        ("9801 00", "non-shortest"),
        ("b801 0000", "non-shortest"),
        ("d801 00", "non-shortest"),
        ("f817", "non-shortest"),
        ("f81f", "non-shortest"),
        ("f820", None),
        ("1c", "reserved"),
        ("5f4100ff", "indefinite"),
        ("9fff", "indefinite"),
        ("bfff", "indefinite"),
        ("ff", "indefinite"),
        ("a2 0100 0000", "unordered"),
        ("a2 0100 0100", "unordered"),
        ("a2 0100 2000", None),
        ("a2 2000 0100", "unordered"),
        ("61ff", "UTF-8"),
        ("62c080", "UTF-8"),
        ("63eda080", "UTF-8"),
        ("64f4908080", "UTF-8"),
        ("f93c00", None),
        ("fa3f800000", "float"),
        ("fb3ff0000000000000", "float"),
        ("fa7f800000", "float"),
        ("f97c00", None),
        ("f97e00", None),
        ("fa7fc00000", "float"),
        ("fa7fc00001", None),
        ("fb7ff8000000000001", None),
        ("fb7ff8000020000000", "float"),
        ("fa33800000", "float"),
        ("fa33800001", None),
        ("fb36a0000000000000", "float"),
        ("fb36a0000000000001", None),
        ("fa33000000", None),
        ("fa38002000", None),
        ("fa38004000", "float"),
        ("fa3f801000", None),
        ("fa3f802000", "float"),
        ("fa47000000", "float"),
        ("fa47800000", None),
        ("fb3690000000000000", None),
        ("fb3800000010000000", None),
        ("fb3ff0000010000000", None),
        ("fb3ff0000020000000", "float"),
        ("fb47e0000000000000", "float"),
        ("fb47f0000000000000", None),
        ("fa00000001", None),
        ("fa00000000", "float"),
        ("fb0000000000000001", None),
    ],
)
def test_values_of_unknown_labels(value: str, fault: str | None) -> None:
    payload = CONFIRM + bytes.fromhex(value) + bytes.fromhex("1750") + bytes(16)
    if fault is None:
        assert decode(payload) == Confirm(0, bytes(16))
    else:
        with pytest.raises(MalformedMessage, match=fault):
            decode(payload)


@given(st.integers(0, 2**32 - 1) | st.floats(width=32).map(lambda x: struct.unpack(">I", struct.pack(">f", x))[0]))
def test_shortest_single(bits: int) -> None:
    assert refused(b"\xfa" + bits.to_bytes(4, "big")) == keeps(">e", struct.unpack(">f", bits.to_bytes(4, "big"))[0])


@given(st.floats(allow_nan=False) | st.floats(width=32, allow_nan=False))
def test_shortest_double(number: float) -> None:
    assert refused(b"\xfb" + struct.pack(">d", number)) == keeps(">f", number)


def refused(value: bytes) -> bool:
    if math.isnan(struct.unpack(">f" if len(value) == 5 else ">d", value[1:])[0]):
        assume(False)
    try:
        decode(CONFIRM + value + bytes.fromhex("1750") + bytes(16))
    except MalformedMessage as error:
        assert error.fault == "non-shortest float"
        return True
    return False


def keeps(form: str, number: float) -> bool:
    """Say whether a float survives the trip through a shorter format: the oracle is struct."""
    if math.isnan(number):
        return False
    try:
        kept: float = struct.unpack(form, struct.pack(form, number))[0]
    except OverflowError:
        return False
    return kept == number


@pytest.mark.parametrize(
    "message",
    [
        Request(bytes(16), Version(1, 0), bytes(32)),
        Request(bytes(17), Version(1, 256), bytes(32)),
        Request(bytes(17), Version(1, 0), bytes(31)),
        Request(bytes(17), Version(1, 0), bytes(32), firmware=""),
        Request(bytes(17), Version(1, 0), bytes(32), firmware="ü" * 17),
        Request(bytes(17), Version(1, 0), bytes(32), x25519_key=bytes(33)),
        Response(version=Version(1, 0), status=Status.OK, security_token=bytes(32)),
        Response(version=Version(1, 0), status=Status.OK, security_token=bytes(32), client_id=bytes(7)),
        Response(
            version=Version(1, 0),
            status=Status.REFUSED,
            security_token=bytes(32),
            client_id=bytes(7),
            sealed_handle=bytes(17),
        ),
        Response(version=Version(1, 0), status=Status.REDIRECT, security_token=bytes(32)),
        Response(version=Version(1, 0), status=Status.REFUSED, security_token=bytes(32), server_uri="coap://example"),
        Response(version=Version(1, 0), status=256, security_token=bytes(32)),
        Success(bytes(8), 0, bytes(16)),
        Success(bytes(7), -1, bytes(16)),
        Confirm(0, bytes(16), MAX_SECONDS + 1),
    ],
    ids=str,
)
def test_what_would_be_refused_is_not_encoded(message: Message) -> None:
    with pytest.raises(LocalError, match=f"cannot encode this {type(message).__name__}"):
        encode(message)


@given(messages)
def test_no_secret_in_a_repr(message: Message) -> None:
    shown = repr(message)
    for attribute in ("identity", "security_token", "mac", "sealed_handle", "x25519_key"):
        value = getattr(message, attribute, None)
        assert value is None or repr(value) not in shown


def test_no_secret_in_the_repr_of_a_whole_message() -> None:
    key, token, mac = b"k" * 32, b"t" * 32, b"m" * 16
    assert repr(Request(b"i" * 17, Version(1, 0), token, x25519_key=key, firmware="fw")) == (
        "Request(version=Version(major=1, minor=0), firmware='fw')"
    )
    response = Response(
        version=Version(1, 0),
        status=0,
        security_token=token,
        client_id=b"c" * 7,
        sealed_handle=b"h" * 17,
        x25519_key=key,
        retry_after=5,
    )
    assert repr(response) == (
        "Response(version=Version(major=1, minor=0), status=0, client_id=b'ccccccc', server_uri=None, retry_after=5)"
    )
    assert repr(Success(b"c" * 7, 0, mac)) == "Success(client_id=b'ccccccc', status=0)"
    assert repr(Confirm(0, mac, 60)) == "Confirm(status=0, lifetime=60)"


def test_the_longest_texts() -> None:
    for text in ("x", "x" * 32, "\u00fc" * 16):
        request = Request(bytes(17), Version(1, 0), bytes(32), firmware=text)
        assert decode(encode(request)) == decode_strictly(encode(request)) == request
    for text in ("x", "x" * 128):
        redirect = Response(version=Version(1, 0), status=Status.REDIRECT, security_token=bytes(32), server_uri=text)
        assert decode(encode(redirect)) == decode_strictly(encode(redirect)) == redirect
    with pytest.raises(LocalError, match="firmware length is 33, not 1 to 32 bytes"):
        encode(Request(bytes(17), Version(1, 0), bytes(32), firmware="x" * 33))
    with pytest.raises(LocalError, match="server URI length is 129, not 1 to 128 bytes"):
        encode(Response(version=Version(1, 0), status=Status.REDIRECT, security_token=bytes(32), server_uri="x" * 129))


def test_what_is_remembered_of_a_stranger_s_bytes_is_bounded() -> None:
    readers = [read for shape in messages_module._SHAPES.values() for _, read in shape._readers]
    sizes = [read.cache_parameters()["maxsize"] for read in readers if hasattr(read, "cache_parameters")]
    assert sizes == [1_024] * 9


def test_a_nonce_is_what_a_long_token_has_before_its_mac() -> None:
    assert SIZE_NONCE == 16


def test_256_bytes_and_no_more() -> None:
    end = bytes.fromhex("1750") + bytes(16)
    longest = CONFIRM + b"\x58" + bytes([256 - len(CONFIRM) - 2 - len(end)])
    assert decode(longest.ljust(256 - len(end), b"\0") + end) == Confirm(0, bytes(16))
    longer = CONFIRM + b"\x58" + bytes([257 - len(CONFIRM) - 2 - len(end)])
    with pytest.raises(MalformedMessage, match="longer than 256 bytes") as caught:
        decode(longer.ljust(257 - len(end), b"\0") + end)
    assert caught.value.offset == 256


@pytest.mark.parametrize(("text", "version"), [("1.0", (1, 0)), ("255.255", (255, 255)), ("0.1", (0, 1))])
def test_version_text(text: str, version: tuple[int, int]) -> None:
    assert Version.parse(text) == version
    assert str(Version(*version)) == text


@pytest.mark.parametrize(
    "text", ["", "1", "1.", ".1", "1.256", "1.0.0", "-1.0", "1.x", "1 .0", "٣.0", "1000.0", "0001.0", "1.0" * 9]
)
def test_not_a_version(text: str) -> None:
    with pytest.raises(LocalError) as caught:
        Version.parse(text)
    assert str(caught.value) == f"not a DPE version: {text[:16]!r}"
    assert caught.value.hint == "write major.minor, each 0 to 255, as in 1.0"
