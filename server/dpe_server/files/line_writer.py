"""Lines for a standard stream, written by a thread: whoever reads the stream, or does not, never stops the caller."""

import os
import threading
from collections.abc import Callable
from typing import TextIO

WAITING = 4_096
"""The most lines that wait, some 1 MB. Further ones are dropped, and counted."""
PATIENCE = 1.0
"""Seconds that ``finish`` waits for somebody to read the rest."""


class LineWriter:
    """Writes to ``stream``; None is a stream that was closed when the process began, for which all lines are dropped.

    ``lost`` makes the line that reports how many lines were dropped; ``refused`` is told each line that the stream does
    not take.
    """

    def __init__(
        self,
        stream: TextIO | None,
        lost: Callable[[int], str] | None = None,
        refused: Callable[[str], None] | None = None,
    ) -> None:
        self._stream = stream
        self._lost = lost
        self._refused = refused
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()  # guards what follows
        self._lines: list[str] = []
        self._dropped = 0
        self._ending = False
        self._thread: threading.Thread | None = None

    def put(self, line: str) -> None:
        """Have a line written. It does not wait, and raises nothing."""
        if self._stream is None:
            if self._refused is not None:
                self._refused(line)
            return
        with self._changed:
            if len(self._lines) >= WAITING:
                self._dropped += 1
                return
            self._lines.append(line)
            self._changed.notify_all()
            # Not before there is something to write: a process that is about to fork must have no thread.
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dpe-lines", daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Wait until all lines are written and the thread has ended, PATIENCE at most. The next line begins anew."""
        with self._changed:
            thread = self._thread
            self._ending = True
            self._changed.notify_all()
        if thread is not None:
            thread.join(PATIENCE)
        with self._changed:
            self._ending = False

    def forget(self) -> None:
        """Begin anew in a process that was just forked: the lines and the thread are its parent's."""
        self._begin()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._ending:
                    self._changed.wait()
                if not self._lines:
                    self._thread = None
                    return
                lines, self._lines = self._lines, []
                dropped, self._dropped = self._dropped, 0
            try:
                if dropped and self._lost is not None:
                    self._write(f"{self._lost(dropped)}\n")
                    dropped = 0
                for line in lines:
                    self._write(f"{line}\n")  # by itself, so that other processes' lines are not in its middle
            except (OSError, ValueError):  # nobody reads any more, or the disk is full
                with self._changed:
                    self._dropped += dropped + len(lines)
                if self._refused is not None:
                    for line in lines:
                        self._refused(line)

    def _write(self, text: str) -> None:
        assert self._stream is not None
        data = text.encode(self._stream.encoding or "utf-8", "backslashreplace")
        try:
            descriptor = self._stream.fileno()
        except (OSError, ValueError):  # no file: a test's
            self._stream.write(text)
            return
        # Not through the stream: at its end the process would wait for the lock that this thread holds meanwhile.
        while data:
            data = data[os.write(descriptor, data) :]
