"""The files of the DPE Client: what must survive a reboot, and the credential that provisioning made."""

import os
from binascii import unhexlify

from . import messages

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import Any, Credential

_KEYS: "tuple[tuple[str, Any, int], ...]" = (
    ("server", str, 0),
    ("realm", str, 0),
    ("handle", bytes, 17),
    ("device_key", bytes, 32),
    ("epoch", int, 0),
)


class FileStore:
    """Keeps one record in two files, written in turn: a power cut at any time leaves the old record or the new one.

    It asks nothing of the file system but that writing a file leaves others alone. The files are `path` and `path.2`,
    of mode 0600 where there are modes. A record stands in one, with a counter (4 bytes) before it and 8 bytes of the
    SHA-256 of both behind it. When it is there, the other file is made void: if the record is damaged later, there is
    none, and not an older one, whose numbers a device would use again.
    """

    def __init__(self, path: str) -> None:
        self._slots = (path, path + ".2")

    def load(self) -> "bytes | None":
        """Return the record, or None if there is none that can be read."""
        return self._newest()[1]

    def save(self, record: bytes) -> None:
        """Replace the record; OSError if that failed: the old one is still there, or the new one after all."""
        count, _, slot = self._newest()
        data = (count + 1).to_bytes(4, "big") + record
        data += messages.sha256(data).digest()[:8]
        for _ in self._slots:
            with open(slot, "wb") as file:
                if hasattr(os, "chmod"):
                    os.chmod(slot, 0o600)
                file.write(data)
                file.flush()  # on MicroPython this reaches the disk
                if hasattr(os, "fsync"):
                    os.fsync(file.fileno())
            if hasattr(os, "O_DIRECTORY"):
                directory = os.open(os.path.dirname(slot) or ".", os.O_DIRECTORY)  # type: ignore[attr-defined]
                try:
                    os.fsync(directory)
                finally:
                    os.close(directory)
            slot = self._slots[slot == self._slots[0]]
            data = b"-"

    def _newest(self) -> "tuple[int, bytes | None, str]":
        # The counter and the record of the newest file that is whole, and the other file: the next to be written.
        # Both are whole after a power cut between the two writes, or when earlier firmware has made them.
        count, record, spare = 0, None, self._slots[0]
        for slot in self._slots:
            try:
                with open(slot, "rb") as file:
                    data = file.read()
            except OSError:
                continue
            counted = int.from_bytes(data[:4], "big")
            if counted > count and messages.sha256(data[:-8]).digest()[:8] == data[-8:]:
                count, record, spare = counted, data[4:-8], self._slots[slot == self._slots[0]]
        return count, record, spare


def load_credential(path: str) -> "Credential":
    """Read a credential, CBOR or JSON; OSError if there is no such file, ValueError names what is wrong in it."""
    with open(path, "rb") as file:
        return parse_credential(file.read())


def parse_credential(data: bytes) -> "Credential":
    """Read a credential, CBOR or JSON, that is not in a file; ValueError names what is wrong in it."""
    if data[:3] == b"\xef\xbb\xbf":  # a byte order mark, which some editors write before JSON
        data = data[3:]
    is_json = data.lstrip()[:1] == b"{"
    try:
        found = _from_json(data) if is_json else _from_cbor(data)
    except (ValueError, RuntimeError):  # RuntimeError: nested too deeply
        found = None
    if found is None:
        raise ValueError("the credential is not %s; provision the device again" % ("JSON" if is_json else "a CBOR map"))
    for key, kind, size in _KEYS:
        value: "Any" = found.get(key)
        if not isinstance(value, kind) or (len(value) != size if size else value == ""):
            wanted = "a number" if kind is int else "%d bytes" % size if size else "a text"
            if size and is_json:
                wanted += " in hex"
            raise ValueError("the credential's %s must be %s" % (key, wanted))
    return found


def _from_json(data: bytes) -> "Credential":
    import json

    found: "Credential" = json.loads(str(data, "utf-8"))
    for key in ("handle", "device_key"):
        try:
            found[key] = unhexlify(found[key])
        except (KeyError, TypeError, ValueError):
            found[key] = None
    return found


def _from_cbor(data: bytes) -> "Credential":
    # Its keys may come in any order, as a map of a general encoder has them.
    if not b"\xa0" <= data[:1] <= b"\xb7":
        raise ValueError
    found: "Credential" = {}
    at = 1
    for _ in range(data[0] & 31):
        key, at = messages.item(data, at, 1)
        value, at = messages.item(data, at, 1)
        if isinstance(key, str):
            found[key] = value
    if at != len(data):
        raise ValueError
    return found
