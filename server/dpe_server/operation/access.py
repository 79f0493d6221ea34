"""Access tokens, access.json: what programs of the operator show to the HTTP API. Only hashes are kept.

An access token is random, so a plain hash of it is enough: nobody finds it by trying. Each command and each request
reads the file anew, so what was revoked opens nothing from the next moment on.
"""

import json
import os
import re
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Any, TypeVar

from dpe_coap.errors import LocalError
from dpe_server.files import durable
from dpe_server.operation.locking import PATIENCE, locked

NAME = "access.json"
PREFIX = "dpe_"
"""How every access token begins, so that whoever looks for leaked secrets finds it."""
SIZE = 32
"""Random bytes of an access token."""
MOST = 1_000
"""The most access tokens of a state directory."""
COARSE = 3_600
"""Seconds to which the time of the last use is rounded down: the file is not written for each use."""

_FORM = re.compile(rf"{PREFIX}[0-9a-f]{{{2 * SIZE}}}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_Result = TypeVar("_Result")


class Role(StrEnum):
    """What an access token, or a person at the page, may do."""

    READER = "reader"
    """See everything but IMEIs."""
    OPERATOR = "operator"
    """Also end sessions, revoke devices, set their policies, and see an IMEI for a reason."""

    def covers(self, other: "Role") -> bool:
        """Say whether it may do all that ``other`` may do."""
        return self is Role.OPERATOR or other is Role.READER


class AccessError(LocalError):
    """The file of access tokens is not as it must be, or does not take what is asked. Holds no access token."""


@dataclass(frozen=True, slots=True)
class Access:
    """An access token, as it is kept. Times are Unix seconds."""

    name: str
    """1 to 64 letters, digits, dots, hyphens and underscores."""
    role: Role
    digest: bytes
    """SHA-256 of the access token, 32 bytes."""
    created_at: int
    expires_at: int | None
    """It opens nothing from this second on; None: it does not expire."""
    used_at: int | None = None
    """When it was last used, rounded down to COARSE; None: not yet."""

    def is_over(self, now: float) -> bool:
        """Say whether it has expired."""
        return self.expires_at is not None and now >= self.expires_at

    def in_json(self) -> dict[str, str | int | None]:
        """Return what may be shown of it."""
        return {
            "name": self.name,
            "role": self.role.value,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "used_at": self.used_at,
        }


class AccessFile:
    """The access tokens of a state directory, in its file access.json (mode 0600). Several processes may use it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / NAME

    def all(self) -> list[Access]:
        """Return all access tokens, by name; AccessError."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise self._unreadable(getattr(error, "strerror", None) or "not UTF-8 text") from None
        try:
            return sorted(map(_read, json.loads(text)["access_tokens"]), key=lambda one: one.name)
        except (ValueError, KeyError, TypeError, RecursionError):  # its text is not shown
            raise self._unreadable("not a file of access tokens") from None

    def create(self, name: str, role: Role, now: int, lifetime: int | None) -> tuple[Access, str]:
        """Draw an access token that expires after ``lifetime`` seconds; return it as kept and as text.

        The text is nowhere else. AccessError if the name cannot be one or is taken, or if there are MOST.
        """
        if not _LABEL.fullmatch(name):
            raise AccessError(
                f"an access token cannot be named {name!a:.80}",
                hint="a name has 1 to 64 letters, digits, dots, hyphens and underscores",
            )
        text = PREFIX + secrets.token_hex(SIZE)
        made = Access(name, role, _digest(text), now, None if lifetime is None else now + lifetime)

        def added(found: list[Access]) -> tuple[list[Access], None]:
            if any(one.name == name for one in found):
                raise AccessError(
                    f"there is an access token {name} already", hint="revoke it first, or choose another name"
                )
            if len(found) >= MOST:
                raise AccessError(f"there are {MOST} access tokens already", hint="revoke those of no use")
            return [*found, made], None

        self._change(added)
        return made, text

    def revoke(self, name: str) -> Access:
        """Remove the access token ``name`` and return it; AccessError if there is none."""

        def without(found: list[Access]) -> tuple[list[Access], Access]:
            for one in found:
                if one.name == name:
                    return [other for other in found if other is not one], one
            raise AccessError(f"there is no access token {name!a:.80}", hint="see: dpe access list STATE")

        return self._change(without)

    def admit(self, text: str, now: float) -> Access | None:
        """Return the access token that ``text`` is, if it has not expired, and note its use; None: it is none.

        As much is done for a wrong one as for a right one. AccessError if the file cannot be read.
        """
        digest = _digest(text)
        found: Access | None = None
        for one in self.all():
            if compare_digest(one.digest, digest):
                found = one
        if found is None or not _FORM.fullmatch(text) or found.is_over(now):
            return None
        at = int(now) - int(now) % COARSE
        if found.used_at != at:
            self._note_use(digest, at)
        return found

    def is_valid(self, access: Access, now: float) -> bool:
        """Say whether an access token that was admitted is still there and has not expired; AccessError."""
        return any(compare_digest(one.digest, access.digest) and not one.is_over(now) for one in self.all())

    def _note_use(self, digest: bytes, at: int) -> None:
        def used(found: list[Access]) -> tuple[list[Access], None]:
            return [replace(one, used_at=at) if one.digest == digest else one for one in found], None

        with suppress(AccessError):  # a full disk, or another command at work, keeps nobody out
            self._change(used, patience=0.0)

    def _change(
        self, change: Callable[[list[Access]], tuple[list[Access], _Result]], *, patience: float = PATIENCE
    ) -> _Result:
        """Put in the file's place what ``change`` makes of it, durably, one process at a time."""
        try:
            with locked(self._directory, os.O_RDONLY, patience=patience):
                changed, result = change(self.all())
                durable.replace(self._path, _text(changed))
        except OSError as error:
            raise AccessError(
                f"{self._path}: {error.strerror}", hint="check the disk, and who owns the state directory"
            ) from None
        return result

    def _unreadable(self, fault: str) -> AccessError:
        return AccessError(f"{self._path}: {fault}", hint="remove the file, and create the access tokens anew")


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="replace")).digest()


def _text(found: Iterable[Access]) -> str:
    kept = [one.in_json() | {"sha256": one.digest.hex()} for one in found]
    return json.dumps({"access_tokens": kept}, indent=1) + "\n"


def _read(kept: dict[str, Any]) -> Access:
    """Read an entry; ValueError, KeyError or TypeError if it is none."""
    digest = bytes.fromhex(kept["sha256"])
    times = [kept["created_at"], kept["expires_at"], kept["used_at"]]
    if len(digest) != 32 or not _LABEL.fullmatch(kept["name"]) or type(times[0]) is not int:
        raise ValueError
    if any(time is not None and type(time) is not int for time in times) or len(kept) != 6:
        raise ValueError
    return Access(kept["name"], Role(kept["role"]), digest, *times)
