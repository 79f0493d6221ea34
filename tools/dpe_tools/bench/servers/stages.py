"""Where the server's CPU time goes, by sampling.

About every millisecond of real time (the interval varies, so that it does not beat with the batches) a signal stops the
server. What CPU time each thread has used since the sample before, by the kernel's count, is put down to the stage that
the thread is in now: the innermost frame of its stack that belongs to a stage, but for the few that count all they call
as theirs. So the stages' sum is all CPU time, the kernel's work for a thread included; a stage's share is as exact as
some thousand samples are.
"""

import json
import random
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from operator import itemgetter
from types import CodeType, FrameType
from typing import Any

INTERVAL = 0.001

STAGES = {
    "mmsg.Mmsg.receive": "receive",
    "mmsg.Mmsg._learn": "receive",
    "mmsg.Mmsg.send": "send",
    "mmsg.Mmsg._send": "send",
    "packet_info": "receive",
    "udp": "receive",
    "lane": "option walk",
    "datagram": "option walk",
    "piggyback": "response head",
    "batching": "batching",
    "messages.decode": "decode",
    "messages.encode": "encode",
    "cbor": "decode",
    "reply": "encode",
    "keys": "key schedule",
    "imei": "authenticate",
    "authentication": "authenticate",
    "key_ring": "authenticate",
    "policy": "policy",
    "id_manager": "Client ID",
    "at_rest": "sealing at rest",
    "store.sqlite.SqliteStore.commit": "store commit",
    "store": "store reads",
    "audit": "audit log",
    "registrar": "registrar",
    "transactions": "registrar",
    "selectors": "event loop",
    "asyncio": "event loop",
}
"""By module and function, without the package; the longest name that fits counts."""
WHOLE = ("encode", "store commit")
"""Stages that count what they call as theirs."""
OTHER = "other"
"""What belongs to no stage: the threads' own machinery."""

_LINE = "CPU time by stage, s: "


class Sampler:
    """Made in the main thread; SIGUSR1 begins to sample and, the second time, ends it. ``report`` prints the result."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._known: dict[CodeType, str | None] = {}
        self._used: dict[int, float] = {}
        self._on = False
        signal.signal(signal.SIGALRM, self._sample)
        signal.signal(signal.SIGUSR1, self._toggle)
        signal.siginterrupt(signal.SIGALRM, False)

    def report(self) -> None:
        """Print the seconds of CPU time by stage."""
        print(_LINE + json.dumps(dict(sorted(self._seconds.items(), key=itemgetter(1), reverse=True))), flush=True)

    def _toggle(self, _number: int, _frame: FrameType | None) -> None:
        self._on = not self._on
        self._used = {ident: _cpu_time(ident) for ident in sys._current_frames()}
        signal.setitimer(signal.ITIMER_REAL, INTERVAL if self._on else 0)

    def _sample(self, _number: int, interrupted: FrameType | None) -> None:
        if not self._on:
            return
        own = threading.get_ident()
        for ident, frame in sys._current_frames().items():
            used = _cpu_time(ident)
            self._seconds[self._stage(interrupted if ident == own else frame)] += used - self._used.get(ident, 0)
            self._used[ident] = used
        self._used[own] = _cpu_time(own)  # what this took is nobody's
        signal.setitimer(signal.ITIMER_REAL, INTERVAL * random.uniform(0.5, 1.5))  # noqa: S311

    def _stage(self, frame: FrameType | None) -> str:
        """Return the stage of the stack that ends with ``frame``."""
        found = None
        while frame is not None:
            code = frame.f_code
            if code not in self._known:
                self._known[code] = _stage_of(frame)
            stage = self._known[code]
            if found is None or stage in WHOLE:
                found = stage
            frame = frame.f_back
        return found or OTHER


def _stage_of(frame: FrameType) -> str | None:
    module = frame.f_globals.get("__name__", "").removeprefix("dpe_server.").removeprefix("dpe_coap.")
    name = f"{module}.{frame.f_code.co_qualname}"
    while name:
        if name in STAGES:
            return STAGES[name]
        name = name.rpartition(".")[0]
    return None


def _cpu_time(ident: int) -> float:
    return time.clock_gettime(time.pthread_getcpuclockid(ident))


def stages_of(lines: Iterable[str]) -> dict[str, float]:
    """Return what a server has reported: seconds of CPU time by stage, the largest first."""
    for line in lines:
        if line.startswith(_LINE):
            found: dict[str, Any] = json.loads(line.removeprefix(_LINE))
            return found
    return {}
