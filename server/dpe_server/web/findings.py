"""What is wrong, examined once for all who ask within a few seconds."""

import time
from pathlib import Path
from threading import Lock

from dpe_server.operators.findings import Finding
from dpe_server.operators.health import examine

KEPT = 5.0
"""Seconds for which an examination is good."""


class Findings:
    """Examines the state directory ``state``. Any thread may call; while one examines, the others wait for it."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._lock = Lock()
        self._found: list[Finding] = []
        self._at = float("-inf")

    def now(self) -> list[Finding]:
        """Return what is found."""
        with self._lock:
            if time.monotonic() - self._at >= KEPT:
                self._found = list(examine(str(self._state), thorough=False))
                self._at = time.monotonic()
            return self._found
