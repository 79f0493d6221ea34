"""Where provisioning puts credentials: into files for each device, or one after the other into one file.

A credential that is there is left as it is. One that was begun and not finished is made again.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei
from dpe_server.operation.credential import Credential, CredentialError
from dpe_server.operation.provisioning_index import write_all

JSON_LINES = "credentials.jsonl"
CBOR_SEQUENCE = "credentials.cborseq"

NAME_BYTES = 8
"""Bytes of a device's keyed hash in the name of its file."""


class Place(Protocol):
    """Where credentials go.

    ``made`` is always a credential made just now. What is there may differ from it in the handle only.
    """

    header: str
    """The header of the index. Its last name is ``unit``."""
    unit: str
    in_order: bool
    """The order in the index is the order in the place."""

    def name(self, number: int, imei: Imei) -> str:
        """Return what the index says of a device, the ``number``-th line of the index (from 1)."""

    def has(self, name: str, row: int, made: Credential) -> bool:
        """Return whether this credential is there, whole. LocalError if something else is."""

    def claim(self, name: str, made: Credential) -> None:
        """Raise LocalError if something else is where a new credential is to be."""

    def write(self, name: str, row: int, made: Credential) -> Credential:
        """Write what is not there yet; return the credential that is there now. OSError."""

    def clear(self, name: str, row: int, made: Credential) -> bool:
        """Remove what was begun of a credential, after an error; return whether nothing of it is left."""

    def close(self) -> None:
        """Make durable what was written."""


class Files:
    """``device-<hash>.cbor`` and ``.json`` for each device, mode 0600; in ``folders`` by the first byte of the hash."""

    header = "row,file"
    unit = "file"
    in_order = False

    def __init__(self, directory: Path, device_id: Callable[[Imei], bytes], *, folders: bool) -> None:
        self._directory = directory
        self._device_id = device_id
        self._folders = folders

    def name(self, _number: int, imei: Imei) -> str:
        """Return the path of the CBOR file, from the index's folder."""
        device = self._device_id(imei).hex()[: 2 * NAME_BYTES]
        return f"{device[:2]}/device-{device}.cbor" if self._folders else f"device-{device}.cbor"

    def has(self, name: str, row: int, made: Credential) -> bool:
        """Return whether both files are there and whole."""
        there = self._there(name, made)
        return there is not None and _read(self._json(name)) == _line(there)

    def claim(self, name: str, made: Credential) -> None:
        """A file may be there that an index has lost: it must be whole."""
        there = self._there(name, made)
        for path in (self._directory / name, self._json(name)):
            if path.exists() and there is None:
                raise LocalError(f"{path} is there already", hint="give --out a directory that is new or empty")

    def write(self, name: str, row: int, made: Credential) -> Credential:
        """Write the files that are missing or broken. Both have the same credential."""
        there = self._there(name, made)
        cbor = self._directory / name
        if there is None:
            if self._folders:
                cbor.parent.mkdir(mode=0o700, exist_ok=True)
            _create(cbor, made.to_cbor())
            there = made
        if _read(self._json(name)) != _line(there):
            _create(self._json(name), _line(there))
        return there

    def clear(self, name: str, row: int, made: Credential) -> bool:
        """Remove the files of ``made``, and a folder that is empty. A credential from before stays."""
        cbor = self._directory / name
        if self._there(name, made) not in (None, made):
            return False
        self._json(name).unlink(missing_ok=True)
        cbor.unlink(missing_ok=True)
        if self._folders:
            with suppress(OSError):  # it is in use, or was never made
                cbor.parent.rmdir()
        return True

    def close(self) -> None:
        """Nothing is open."""

    def _json(self, name: str) -> Path:
        return (self._directory / name).with_suffix(".json")

    def _there(self, name: str, made: Credential) -> Credential | None:
        path = self._directory / name
        return _same(_read(path), made, path)


class OneFile:
    """All credentials in one file, mode 0600, each with its row: lines of JSON, or a CBOR sequence (RFC 8742)."""

    header = "row,file,item"
    unit = "item"
    in_order = True

    def __init__(self, directory: Path, *, as_json: bool) -> None:
        """Nothing is opened before the first credential is looked for or written."""
        self._as_json = as_json
        self._path = directory / (JSON_LINES if as_json else CBOR_SEQUENCE)
        self._file: int | None = None
        self._end = 0
        """Where the next item begins."""

    def name(self, number: int, _imei: Imei) -> str:
        """Return the name of the file and the number of the item."""
        return f"{self._path.name},{number}"

    def has(self, name: str, row: int, made: Credential) -> bool:
        """Return whether the next item is this credential. A beginning of it at the end of the file does not count."""
        wanted = len(self._item(row, made))
        data = os.pread(self._opened(), wanted, self._end)
        there = _same(data, made, self._path)
        if len(data) < wanted:
            os.ftruncate(self._opened(), self._end)
            return False
        if there is None or self._item(row, there) != data:
            raise LocalError(f"{self._path} is not as it was written", hint="give another --out")
        self._end += wanted
        return True

    def claim(self, name: str, made: Credential) -> None:
        """Refuse a file that the index does not know."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            size = 0
        if size != self._end:
            raise LocalError(
                f"{self._path} is there already, with more than the index knows",
                hint="give --out a directory that is new or empty",
            )

    def write(self, name: str, row: int, made: Credential) -> Credential:
        """Write the next item."""
        item = self._item(row, made)
        write_all(self._opened(), item, self._end)
        self._end += len(item)
        return made

    def clear(self, name: str, row: int, made: Credential) -> bool:
        """Cut off what was begun."""
        if self._file is not None:
            os.ftruncate(self._file, self._end)
        else:
            self._path.unlink(missing_ok=True)  # ``claim`` has seen that it is empty or not there
        return True

    def close(self) -> None:
        """Make the items durable; an empty file goes away."""
        if self._file is not None:
            os.fsync(self._file)
            if not os.fstat(self._file).st_size:
                self._path.unlink()
            os.close(self._file)

    def _opened(self) -> int:
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        return self._file

    def _item(self, row: int, made: Credential) -> bytes:
        return f"{made.to_json(row)}\n".encode() if self._as_json else made.to_cbor(row)


def _same(data: bytes, made: Credential, path: Path) -> Credential | None:
    """Return the credential that ``data`` has, if any; it must be ``made`` but for the handle, or LocalError."""
    try:
        there = Credential.read(data)
    except CredentialError:
        return None
    if replace(there, handle=made.handle) != made:
        raise LocalError(
            f"{path} has another credential: of another device, or from before the server's realm, URI or key changed",
            hint="give another --out",
        )
    return there


def _line(made: Credential) -> bytes:
    return f"{made.to_json()}\n".encode()


def _read(path: Path) -> bytes:
    """Return what a file has; nothing if it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _create(path: Path, content: bytes) -> None:
    """Write a file of mode 0600, in place of what is broken there."""
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(file, content, 0)
    finally:
        os.close(file)
