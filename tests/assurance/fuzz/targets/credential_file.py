"""Any bytes give a credential, a key ring or a configuration, or an error that names the fault and contains no secret;
the device accepts each credential that the tools accept."""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from typing import TypeVar

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei
from dpe_device.store import parse_credential
from dpe_server.keys import file as key_file
from dpe_server.keys.ring import KeyRing
from dpe_server.operation import config
from dpe_server.operation.credential import ROW, Credential, credential

Content = TypeVar("Content", str, bytes)
Found = TypeVar("Found")

LONGEST = 700
LONGEST_ERROR = 300
_ring = KeyRing({1: bytes(range(32)), 3: bytes(range(64, 96))}, {9: bytes(range(128, 160))}, bytes(range(192, 224)))
_config = config.Config("example", "coap://[::1]:5711")
_credential = credential(_ring, _config, Imei.parse("35209900176148"), bytes, lambda: 0.0)
_keys = (*_ring.master.values(), *_ring.handle.values(), _ring.at_rest, _credential.handle, _credential.device_key)
_parts = {key[at : at + 6] for key in _keys for at in range(len(key) - 5)}
SECRETS = [part.hex() for part in _parts] + [repr(part)[2:-1] for part in _parts]
"""Every six bytes of the seeds' keys, as text may show them."""
WORDS = (
    b" ", b"{",
    b"}", b'"', b'":"', b",", b"\\u0041", b"\\ud800", b"null", b"true", b"1e999", b"-1", b"NaN", b"[[[[[[[[",
    b'{"a":' * 8, b'"epoch"', b'"server"', b'"realm"', b'"handle"', b'"device_key"', b'"master"', b'"at_rest"',
    b'"255"',
    b"\xa5", b"\x66server", b"\x65realm", b"\x66handle", b"\x51", b"\x6adevice_key", b"\x58\x20", b"\x65epoch", b"\xbf",
    b"\xff", b"\xc1", b"\xd8\x1c", b"\xd8\x1d\x00", b"\xf9\x7e\x00", b"\xfb", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"realm = ", b"uri = ", b"listen = [", b"retry_after = 60\n", b"retention = 0\n", b"coap://", b"[::1]", b":65535",
    b"'''", b'"""', b"\n", b"#",
)  # fmt: skip


def seeds() -> list[bytes]:
    """A file of each kind, and those with a fault that is often made."""
    made = _credential
    values = json.loads(made.to_json())
    return [
        made.to_cbor(),
        made.to_json().encode(),
        made.to_json(row=7).encode(),
        made.to_cbor(row=7),
        b"\n " + made.to_json().encode() + b"\n",
        json.dumps(values | {"handle": made.handle.hex(" ")}).encode(),
        json.dumps(values, indent=2).encode(),
        *(json.dumps(values | {key: None}).encode() for key in values),
        *(json.dumps(values | {key: f"{values[key]}00"}).encode() for key in ("handle", "device_key")),
        *(json.dumps({other: values[other] for other in values if other != key}).encode() for key in values),
        key_file.text_of(_ring).encode(),
        config.template(_config.realm, _config.uri).encode(),
        b'realm = "r"\nuri = "coap://h"\nlisten = ["0.0.0.0:5683", "[::]:5683"]\nretention = 0\n',
    ]


def check(data: bytes) -> None:
    """Read the bytes as each of the files that there are."""
    taken = _read(Credential.read, data)
    device = _read(parse_credential, data)
    if taken is not None:
        assert device is not None
        assert {key: value for key, value in device.items() if key != ROW} == asdict(taken)
        assert Credential.read(taken.to_cbor()) == taken == Credential.read(taken.to_json().encode())
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    ring = _read(key_file.parse, text)
    if ring is not None:
        assert key_file.parse(key_file.text_of(ring)) == ring
        assert not _shows(repr(ring))
    _read(config.parse, text)


def _read(read: Callable[[Content], Found], content: Content) -> Found | None:
    """Return what a reader makes of a file, or None when its error is as it must be."""
    kind = ValueError if read is parse_credential else LocalError
    try:
        return read(content)
    except kind as error:
        text = f"{error} {getattr(error, 'hint', '')}"
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None
        assert str(error)
        assert len(text) <= LONGEST_ERROR
        assert text.isprintable(), ascii(text)
        assert read is config.parse or not _shows(text)  # a configuration has no secrets
        return None


@lru_cache(10_000)
def _shows(text: str) -> bool:
    return any(secret in text for secret in SECRETS)
