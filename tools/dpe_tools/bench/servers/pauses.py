"""How long garbage collections stop the program."""

import gc
import time
from collections.abc import Iterable


class Pauses:
    """Times every collection from when it is made on."""

    def __init__(self) -> None:
        self.longest = 0.0
        """Seconds."""
        self._began = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.longest = max(self.longest, time.perf_counter() - self._began)

    def report(self) -> None:
        """Print the longest one."""
        print(f"{_LONGEST}{self.longest * 1e3:.3f}", flush=True)


_LONGEST = "longest garbage collection, ms: "


def longest_of(lines: Iterable[str]) -> float | None:
    """Return the longest garbage collection in milliseconds that a server has reported, or None."""
    return max((float(line.removeprefix(_LONGEST)) for line in lines if line.startswith(_LONGEST)), default=None)
