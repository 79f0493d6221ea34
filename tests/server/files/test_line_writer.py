"""Lines for a stream: whoever reads it, or does not, the caller goes on."""

import errno
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpe_server.files import line_writer
from dpe_server.files.line_writer import LineWriter
from tests.audit import until


class Pipe:
    """A pipe whose writing end is a text stream."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.reader, writer = os.pipe()
        self.stream = os.fdopen(writer, "w", encoding=encoding)

    def fill(self) -> int:
        """Write until nothing more goes in; return how much it was."""
        os.set_blocking(self.stream.fileno(), False)
        size = 0
        try:
            while True:
                size += os.write(self.stream.fileno(), bytes(4_096))
        except BlockingIOError:
            os.set_blocking(self.stream.fileno(), True)
            return size

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += os.read(self.reader, size - len(data))
        return data


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.stream.close()
    os.close(pipe.reader)


def test_lines_come_in_order(pipe: Pipe) -> None:
    writer = LineWriter(pipe.stream)
    for word in ("one", "two", "three"):
        writer.put(word)
    writer.finish()
    assert pipe.read(14) == b"one\ntwo\nthree\n"
    assert writer._thread is None
    writer.put("four")
    assert pipe.read(5) == b"four\n"
    writer.finish()


def test_a_pipe_that_nobody_reads_stops_nobody(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_writer, "WAITING", 10)
    monkeypatch.setattr(line_writer, "PATIENCE", 0.0)
    size = pipe.fill()
    writer = LineWriter(pipe.stream, "{} lost".format)
    writer.put("0")
    until(lambda: not writer._lines)  # the thread has it, and waits for the pipe
    for number in range(1, 16):
        writer.put(str(number))
    writer.finish()  # waits no longer than its patience
    assert pipe.read(size) == bytes(size)
    assert pipe.read(2) == b"0\n"
    rest = "5 lost\n" + "".join(f"{number}\n" for number in range(1, 11))
    assert pipe.read(len(rest)).decode() == rest
    monkeypatch.setattr(line_writer, "PATIENCE", 30.0)
    writer.finish()


def test_a_stream_that_is_closed_takes_no_line() -> None:
    refused: list[str] = []
    for writer in (LineWriter(None), LineWriter(None, refused=refused.append)):
        writer.put("one")
        writer.finish()
        assert writer._thread is None
    assert refused == ["one"]


def test_what_cannot_be_written_is_counted(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    write, full = os.write, [True]

    def fail(descriptor: int, data: bytes) -> int:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", fail)
    refused: list[str] = []
    writer = LineWriter(pipe.stream, "{} lost".format, refused.append)
    for word in ("one", "two"):
        writer.put(word)
        writer.finish()
    assert refused == ["one", "two"]
    full[0] = False
    writer.put("three")
    writer.finish()
    assert pipe.read(13) == b"2 lost\nthree\n"


def test_what_the_encoding_does_not_have_is_escaped() -> None:
    pipe = Pipe("ascii")
    writer = LineWriter(pipe.stream)
    writer.put("m\u00fcnchen \u2713")
    writer.finish()
    assert pipe.read(18) == b"m\\xfcnchen \\u2713\n"
    pipe.stream.close()
    os.close(pipe.reader)


def test_a_stream_that_is_no_file() -> None:
    stream = io.StringIO()
    writer = LineWriter(stream)
    writer.put("one")
    writer.finish()
    assert stream.getvalue() == "one\n"


FORKING = """
import os, sys
from dpe_server.files import line_writer
from tests.audit import until
from tests.server.files.test_line_writer import Pipe

pipe = Pipe()
size = pipe.fill()
writer = line_writer.LineWriter(pipe.stream)
writer.put("taken")
until(lambda: not writer._lines)
writer.put("waits")
child = os.fork()
if child == 0:
    writer.forget()
    writer.put("child")
    line_writer.PATIENCE = 30
    writer.finish()
    os._exit(0)
pipe.read(size)
print(sorted(pipe.read(18).split()))
line_writer.PATIENCE = 30
writer.finish()
os.waitpid(child, 0)
os.set_blocking(pipe.reader, False)
try:
    print(os.read(pipe.reader, 100))
except BlockingIOError:
    print("no more")
"""


def test_a_child_does_not_write_its_parents_lines(root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[b'child', b'taken', b'waits']", "no more"]
