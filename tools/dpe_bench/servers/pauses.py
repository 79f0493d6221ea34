"""How long garbage collections stop the program: CPU time, so that the turn of another program does not count."""

import gc
import signal
import time
from collections.abc import Iterable
from types import FrameType


class Pauses:
    """Times every collection from when it is made on; SIGUSR2 forgets those before it. Made in the main thread."""

    def __init__(self) -> None:
        self.longest = 0.0
        """Seconds."""
        self._began = 0.0
        gc.callbacks.append(self._note)
        signal.signal(signal.SIGUSR2, self._forget)

    def _forget(self, _number: int, _frame: FrameType | None) -> None:
        self.longest = 0.0

    def _note(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            self.longest = max(self.longest, time.thread_time() - self._began)

    def report(self) -> None:
        """Print the longest one."""
        print(f"{_LONGEST}{self.longest * 1e3:.3f}", flush=True)


_LONGEST = "longest garbage collection, ms: "


def longest_of(lines: Iterable[str]) -> float | None:
    """Return the longest garbage collection in milliseconds that a server has reported, or None."""
    return max((float(line.removeprefix(_LONGEST)) for line in lines if line.startswith(_LONGEST)), default=None)
