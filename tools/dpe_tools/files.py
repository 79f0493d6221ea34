"""Reading what a user names on the command line, and writing what must not be world-readable."""

import os
import stat
import sys
from pathlib import Path

import click

from dpe_coap.errors import LocalError
from dpe_coap.numbers import SIZE_X25519_KEY

LONGEST = 1 << 20
"""The most bytes that are read from an input file. Credentials and messages are far shorter."""


def read(path: str) -> bytes:
    """Return the content of a file, or of standard input for ``-``. Raises LocalError if it cannot be read."""
    try:
        if path == "-":
            return sys.stdin.buffer.read(LONGEST)
        with Path(path).open("rb") as file:
            return file.read(LONGEST)
    except OSError as error:
        name = "standard input" if path == "-" else path
        raise LocalError(f"cannot read {name}: {error.strerror}") from None


def is_file(path: str) -> bool:
    """Return whether there is such a file, or a pipe. Text that is too long for a name may be a message in hex."""
    return os.path.exists(path)  # noqa: PTH110  # Path's raises OSError then


def unhex(data: bytes) -> bytes:
    """Return the bytes that ``data`` spells in hex, ignoring white space and colons, or ``data`` if it is not hex."""
    try:
        text = data.decode("ascii").replace(":", " ").strip()
        return bytes.fromhex(text.removeprefix("0x")) if text else data
    except ValueError:
        return data


def read_ephemeral(path: str) -> bytes:
    """Return an X25519 private key, from 32 bytes or their hex. Raises LocalError if it is none."""
    key = unhex(read(path) if is_file(path) else os.fsencode(path))
    if len(key) != SIZE_X25519_KEY:
        hint = "name the file that dpe message request wrote"
        raise LocalError(f"--ephemeral is not an X25519 private key of {SIZE_X25519_KEY} bytes", hint=hint)
    return key


def write_new_private(path: str, data: bytes) -> None:
    """Write a new file that only its owner can read (mode 0600). LocalError rather than touch one that is there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise LocalError(f"{path} is there already", hint="give a file that is not there yet") from None
    except OSError as error:
        raise LocalError(f"cannot write {path}: {error.strerror}") from None
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor, not a path
            file.write(data)
    except BaseException as error:
        os.unlink(path)  # noqa: PTH108
        if isinstance(error, OSError):
            raise LocalError(f"cannot write {path}: {error.strerror}") from None
        raise


def write_private(path: str, data: bytes) -> None:
    """Write a file that only its owner can read (mode 0600). Its earlier content is replaced."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor, not a path
            os.fchmod(descriptor, 0o600)
            file.write(data)
    except OSError as error:
        raise LocalError(f"cannot write {path}: {error.strerror}") from None


def warn_of_other_readers(option: str) -> None:
    """Say so if the shell has opened standard output on a file that others can read; ``option`` is the better way."""
    try:
        status = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):  # it is no file, as in tests
        return
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
        click.echo(
            f"hint: other users may read that file, and it has a secret; {option} makes one for you only", err=True
        )
