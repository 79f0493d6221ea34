"""Provisioning (bootstrap): what a device is given at the factory so that it can register."""

import csv
import json
import os
import re
import secrets
from binascii import unhexlify
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import cbor2

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei
from dpe_coap.keys import KEY_SIZE
from dpe_coap.numbers import SIZE_SEALED_IMEI
from dpe_server.files.uris import uri_fault
from dpe_server.keys.ring import KeyRing
from dpe_server.operation.config import Config, realm_fault

INDEX = "index.csv"

_NAME = re.compile("[a-z_]{1,16}")


class CredentialError(LocalError):
    """Not a credential; ``key`` names the entry at fault, if it is one. Holds no value of it."""

    def __init__(self, fault: str, *, key: str | None = None) -> None:
        self.key = key
        super().__init__(
            f"not a credential: {fault}" if key is None else f"not a credential: {key}: {fault}",
            hint="make a new one with dpe provision",
        )


@dataclass(frozen=True, slots=True)
class Credential:
    """A device's credential. It holds no IMEI in clear, and its repr neither handle nor key."""

    server: str
    """``coap://HOST[:PORT]``."""
    realm: str
    handle: bytes = field(repr=False)
    """17 bytes."""
    device_key: bytes = field(repr=False)
    """K_dev, 32 bytes."""
    epoch: int
    """The generation of the master key that ``device_key`` is from."""

    def to_json(self) -> str:
        """Return one line of JSON, byte strings in hex: for a person."""
        return json.dumps({k: v.hex() if isinstance(v, bytes) else v for k, v in self._values()}, ensure_ascii=False)

    def to_cbor(self) -> bytes:
        """Return a CBOR map with the same keys: for a board."""
        return cbor2.dumps(dict(self._values()))

    def _values(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in _CHECKS]

    @classmethod
    def read(cls, data: bytes) -> "Credential":
        """Read a credential, JSON if it begins with ``{`` and else CBOR; CredentialError names the key at fault."""
        values = _read_json(data) if data.lstrip()[:1] == b"{" else _read_cbor(data)
        for key in values:
            if not isinstance(key, str) or not _NAME.fullmatch(key):  # it may be a secret, in a file with a quote lost
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
    keys: KeyRing, config: Config, imei: Imei, random: Callable[[int], bytes] = secrets.token_bytes
) -> Credential:
    """Make the credential of the device with this IMEI, under the current master and handle keys."""
    epoch = keys.current_epoch
    device_key = keys.device_key(epoch, imei)
    assert device_key is not None, "the current epoch has a master key"
    return Credential(config.uri, config.realm, keys.seal_handle(epoch, imei, random), device_key, epoch)


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
        # Encoded again it must be the same: nothing after it, no key twice, no longer form than needed.
        same = cbor2.dumps(values) == data
    except CredentialError:
        raise
    except Exception:  # cbor2 raises many kinds, some of them not its own
        raise CredentialError("neither JSON nor CBOR") from None
    if not same:
        raise CredentialError("a key is there twice, or something follows, or the CBOR is not in its shortest form")
    return values


# -- many at once --


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the input and what it holds: the IMEI, or (as text) why there is none."""

    number: int
    """The line, from 1, as an editor counts."""
    imei: Imei | None
    fault: str = ""


def read_imeis(lines: Iterable[str]) -> Iterator[Row]:
    """Read one IMEI a line, or CSV whose header has a column ``imei``.

    Blank lines and lines that begin with ``#`` are skipped. A line at fault, or with an IMEI seen before, is a Row
    with a fault, which never holds a digit of it; the rest is read all the same.
    """
    column, first = 0, True
    seen: dict[Imei, int] = {}
    for number, line in enumerate(lines, 1):
        text = line.lstrip("\ufeff").strip()
        if not text or text.startswith("#"):
            continue
        try:
            cells = next(csv.reader([text], strict=True))
        except csv.Error:
            yield Row(number, None, "not CSV: a quotation mark is missing")
            continue
        names = [cell.strip().lower() for cell in cells]
        if first and "imei" in names:
            column, first = names.index("imei"), False
            continue
        if first and len(cells) > 1:
            yield Row(number, None, "several columns, and no header that names one of them imei")
            return
        first = False
        yield _row(number, cells, column, seen)


def _row(number: int, cells: list[str], column: int, seen: dict[Imei, int]) -> Row:
    if column >= len(cells):
        return Row(number, None, "the column imei is missing")
    try:
        imei = Imei.parse(cells[column])
    except LocalError as error:
        return Row(number, None, str(error))
    if imei in seen:
        return Row(number, None, f"the same IMEI as in row {seen[imei]}")
    seen[imei] = number
    return Row(number, imei)


def write_credentials(
    directory: Path,
    devices: Iterable[tuple[int, Imei]],
    make: Callable[[Imei], Credential],
    device_id: Callable[[Imei], bytes],
) -> Iterator[Path]:
    """Write the credential of each device (row and IMEI) to ``directory``; yield its CBOR file once it is there.

    ``device-<16 hex digits of the device's keyed hash>.cbor`` and ``.json``, mode 0600, and ``index.csv`` with the row
    of each. Raises LocalError rather than overwrite a file.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _create(directory / INDEX) as index:
            index.write(b"row,file\n")
            for row, imei in devices:
                made = make(imei)
                path = directory / f"device-{device_id(imei).hex()[:16]}.cbor"
                for file, content in ((path, made.to_cbor()), (path.with_suffix(".json"), _line(made))):
                    with _create(file) as stream:
                        stream.write(content)
                index.write(f"{row},{path.name}\n".encode())
                yield path
    except FileExistsError as error:
        raise LocalError(
            f"{error.filename} is there already", hint="give --out a directory that is new or empty"
        ) from None
    except OSError as error:
        raise LocalError(f"{error.filename or directory}: {error.strerror}", hint="check --out") from None


def _line(made: Credential) -> bytes:
    return f"{made.to_json()}\n".encode()


def _create(path: Path) -> Any:
    """Open a new file (mode 0600) for writing; FileExistsError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
