"""Credentials of devices, read from the file or the folder that the user names."""

from collections.abc import Iterator
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import cbor2

from dpe_coap.errors import LocalError
from dpe_server.operation.credential import Credential, CredentialError
from dpe_server.operation.provisioning_places import CBOR_SEQUENCE, JSON_LINES
from dpe_tools import files


def load(path: str) -> Credential:
    """Read a credential file, JSON or CBOR. Raises LocalError, which names the file and what is wrong with it."""
    try:
        return Credential.read(files.read(path))
    except LocalError as error:
        hint = error.hint or "make one with: dpe provision STATE IMEI --out DIR"
        message = str(error)
        raise LocalError(message if path in message else f"{path}: {message}", hint=hint) from None


def load_all(directory: Path) -> list[Credential]:
    """Read all credentials that ``dpe provision --out`` has put into a folder, in any layout. Raises LocalError."""
    found = [load(str(path)) for path in sorted(directory.rglob("device-*.cbor"))]
    for name, items in ((JSON_LINES, _lines), (CBOR_SEQUENCE, _sequence)):
        path = directory / name
        if path.exists():
            try:
                found += map(Credential.read, items(path.read_bytes()))
            except OSError as error:
                raise LocalError(f"cannot read {path}: {error.strerror}") from None
            except CredentialError as error:
                raise LocalError(f"{path}: an item is {error}", hint=error.hint) from None
    return found


def _lines(data: bytes) -> Iterator[bytes]:
    return iter(data.splitlines())


def _sequence(data: bytes) -> Iterator[bytes]:
    """Yield the items of a CBOR sequence (RFC 8742), and what follows the last."""
    stream = BytesIO(data)
    start = 0
    while start < len(data):
        try:
            cbor2.CBORDecoder(stream, read_size=1).decode()
        except Exception:  # cbor2 raises many kinds, some of them not its own
            stream.seek(0, 2)
        yield data[start : stream.tell()]
        start = stream.tell()


def for_device(known: Credential) -> Any:
    """Return the credential as the device client takes it: a dict, because the device has no type for it."""
    return asdict(known)
