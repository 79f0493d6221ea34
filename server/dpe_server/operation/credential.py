"""A credential: what a device is given at the factory so that it can register. How it is made, written and read."""

import json
import re
import secrets
import time
from binascii import unhexlify
from codecs import BOM_UTF8
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import cbor2

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei
from dpe_coap.keys import KEY_SIZE
from dpe_coap.numbers import SIZE_SEALED_IMEI
from dpe_server.files.uris import uri_fault
from dpe_server.keys.ring import KeyRing, next_issued
from dpe_server.operation.config import Config, realm_fault

ROW = "row"
"""The key that says where in a list the IMEI was. It is no part of the credential."""

_NAME = re.compile("[a-z_]{1,16}")


class CredentialError(LocalError):
    """Not a credential; ``key`` names the entry at fault, if there is one. Holds no value of it."""

    def __init__(self, fault: str, *, key: str | None = None) -> None:
        self.key = key
        super().__init__(
            f"not a credential: {fault}" if key is None else f"not a credential: {key}: {fault}",
            hint="make a new one with dpe provision",
        )


@dataclass(frozen=True, slots=True)
class Credential:
    """A device's credential. It holds no IMEI in clear, and its repr shows neither handle nor key."""

    server: str
    """``coap://HOST[:PORT]``."""
    realm: str
    handle: bytes = field(repr=False)
    """17 bytes."""
    device_key: bytes = field(repr=False)
    """K_dev, 32 bytes."""
    epoch: int
    """The generation of the master key that ``device_key`` is derived from."""

    def to_json(self, row: int | None = None) -> str:
        """Return one line of JSON, byte strings in hex: for a person. ``row`` is where the IMEI was in its list."""
        values = self._values(row)
        return json.dumps({k: v.hex() if isinstance(v, bytes) else v for k, v in values.items()}, ensure_ascii=False)

    def to_cbor(self, row: int | None = None) -> bytes:
        """Return a CBOR map with the same keys: for a board."""
        return cbor2.dumps(self._values(row))

    def _values(self, row: int | None) -> dict[str, Any]:
        numbered: dict[str, Any] = {} if row is None else {ROW: row}
        return numbered | {name: getattr(self, name) for name in _CHECKS}

    @classmethod
    def read(cls, data: bytes) -> "Credential":
        """Read a credential, JSON if it begins with ``{`` and else CBOR; CredentialError names the key at fault.

        JSON may begin with the byte order mark of UTF-8. The number of a row means nothing to a device.
        """
        data = data.removeprefix(BOM_UTF8)
        values = _read_json(data) if data.lstrip()[:1] == b"{" else _read_cbor(data)
        if type(values.get(ROW)) is int:
            del values[ROW]
        for key in values:
            if not isinstance(key, str) or not _NAME.fullmatch(key):  # it may be a secret, if a quote is missing
                raise CredentialError(f"a key is not a name; known are {', '.join(_CHECKS)}")
            if key not in _CHECKS:
                raise CredentialError(f"unknown key; known are {', '.join(_CHECKS)}", key=key)
        for key, check in _CHECKS.items():
            if key not in values:
                raise CredentialError("is missing", key=key)
            if fault := check(values[key]):
                raise CredentialError(fault, key=key)
        return cls(**values)


def credential(
    keys: KeyRing,
    config: Config,
    imei: Imei,
    random: Callable[[int], bytes] = secrets.token_bytes,
    clock: Callable[[], float] = time.time,
) -> Credential:
    """Make the credential of the device with this IMEI, under the current master and handle keys.

    ``clock`` gives Unix time, when the handle is issued.
    """
    epoch = keys.current_epoch
    device_key = keys.device_key(epoch, imei)
    assert device_key is not None, "the current epoch has a master key"
    handle = keys.seal_handle(epoch, imei, next_issued(0, clock()), random)
    return Credential(config.uri, config.realm, handle, device_key, epoch)


def _bytes_fault(size: int) -> Callable[[object], str | None]:
    def fault(value: object) -> str | None:
        return None if isinstance(value, bytes) and len(value) == size else f"expected {size} bytes"

    return fault


def _epoch_fault(value: object) -> str | None:
    return None if type(value) is int and 0 <= value <= 255 else "expected a number from 0 to 255"


_CHECKS: dict[str, Callable[[object], str | None]] = {
    "server": lambda value: uri_fault(value, path=True),
    "realm": realm_fault,
    "handle": _bytes_fault(SIZE_SEALED_IMEI),
    "device_key": _bytes_fault(KEY_SIZE),
    "epoch": _epoch_fault,
}


def _read_json(data: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            raise CredentialError("a key is there twice")
        return values

    try:
        values: dict[str, Any] = json.loads(data.decode(), object_pairs_hook=once)
    except (ValueError, RecursionError):  # its text may hold the key
        raise CredentialError("neither JSON nor CBOR") from None
    for key in ("handle", "device_key"):
        if isinstance(values.get(key), str):
            try:
                values[key] = unhexlify(values[key])  # no blanks, as on the device
            except ValueError:
                raise CredentialError("expected hex", key=key) from None
    return values


def _read_cbor(data: bytes) -> dict[Any, Any]:
    stream = BytesIO(data)
    try:
        values = cbor2.CBORDecoder(stream).decode()
        if not isinstance(values, dict):
            raise CredentialError("neither JSON nor a CBOR map")
        # Encoded again it must be the same: nothing after it, no key twice, no form longer than needed.
        same = cbor2.dumps(values) == data
    except CredentialError:
        raise
    except Exception:  # cbor2 raises many kinds, some of them not its own
        raise CredentialError("neither JSON nor CBOR") from None
    if not same:
        raise CredentialError("a key is there twice, or something follows, or the CBOR is not in its shortest form")
    return values
