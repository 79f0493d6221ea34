"""The standard streams of a `dpe` process: what happens when one is closed, full, unread, or not in UTF-8.

- Standard output that cannot be written is an OSError that names it, once, and then takes no more.
- Standard output that nobody reads any more (`| head`) is no fault: the rest is not printed.
- Standard error never fails: an exit status must not depend on whether its explanation could be shown.
- Standard input that cannot be read is an OSError that names it.
- A character that a stream's encoding lacks is printed as its escape.
"""

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

CLOSED = "it is closed"


def prepare() -> None:
    """Replace this process's standard streams."""
    for descriptor, access in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        _occupy(descriptor, access)
    sys.stdin = _text(io.BufferedReader(_Input(0, "r", closefd=False)), sys.stdin, "surrogateescape")
    sys.stdout = _text(io.BufferedWriter(_Output(1, "w", closefd=False)), sys.stdout, "backslashreplace")
    sys.stderr = _text(io.BufferedWriter(_Error(2, "w", closefd=False)), sys.stderr, "backslashreplace")


def is_read() -> bool:
    """Return whether what is printed on standard output can still reach a reader."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return not (isinstance(raw, _Output) and raw.over)


def _occupy(descriptor: int, access: int) -> None:
    """See that no file that is opened later becomes a standard stream. Using this one fails, as if it were closed."""
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, access)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
        os.set_inheritable(descriptor, True)


def _text(buffer: io.BufferedReader | io.BufferedWriter, before: TextIO | None, errors: str) -> TextIO:
    encoding = None if before is None else before.encoding
    by_line = before is None or before.line_buffering or getattr(before, "write_through", False)  # with python -u
    return io.TextIOWrapper(buffer, encoding, errors, line_buffering=bool(by_line))


def _named(error: OSError, name: str) -> OSError:
    return OSError(error.errno, CLOSED if error.errno == errno.EBADF else error.strerror, name)


class _Input(io.FileIO):
    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise _named(error, "standard input") from None

    def readall(self) -> bytes:
        try:
            return super().readall()
        except OSError as error:
            raise _named(error, "standard input") from None


class _Output(io.FileIO):
    over = False

    def write(self, data: "ReadableBuffer", /) -> int | None:  # type: ignore[override]
        if not self.over:
            try:
                return super().write(data)
            except OSError as error:
                self.over = True
                if not isinstance(error, BrokenPipeError):
                    raise _named(error, "standard output") from None
        return memoryview(data).nbytes


class _Error(io.FileIO):
    def write(self, data: "ReadableBuffer", /) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes
