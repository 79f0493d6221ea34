"""Where the server's CPU time goes.

The event loop's thread is sampled on its own CPU clock: a timer signals it each time it has used some more, at the
kernel's next tick. The sample counts for the stage that the thread is in then: the innermost frame of its stack that
belongs to one, but for stages that count all they call as theirs. The other threads, which commit, copy the log back
and write the audit log, need no samples: all that one does is one stage, and the kernel tells its CPU time.
"""

import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from operator import itemgetter
from types import CodeType, FrameType
from typing import Any

import cffi

INTERVAL = 0.001
"""Seconds of CPU time; in truth as much as lies between the ticks of the kernel, often 4 ms."""

STAGES = {
    "dpe_server.net.mmsg.Mmsg.receive": "receive",
    "dpe_server.net.mmsg.Mmsg._learn": "receive",
    "dpe_server.net.mmsg.Mmsg.send": "send",
    "dpe_server.net.mmsg.Mmsg._send": "send",
    "dpe_server.net.packet_info": "receive",
    "dpe_server.net.udp": "receive",
    "dpe_server.coap.lane": "option walk",
    "dpe_server.coap.datagram": "option walk",
    "dpe_server.coap.piggyback": "response head",
    "dpe_server.handling.batching": "batching",
    "dpe_coap.messages.decode": "decode",
    "dpe_coap.messages.encode": "encode",
    "dpe_coap.cbor": "decode",
    "dpe_server.handling.reply": "encode",
    "dpe_coap.keys": "key schedule",
    "dpe_coap.imei": "authenticate",
    "dpe_server.registration.authentication": "authenticate",
    "dpe_server.keys.ring": "authenticate",
    "dpe_server.policy": "policy",
    "dpe_server.registration.id_manager": "Client ID",
    "dpe_server.keys.at_rest": "sealing at rest",
    "dpe_server.store": "store reads",
    "dpe_server.operation.audit": "audit log",
    "dpe_server.registration.registrar": "registrar",
    "dpe_server.registration.transactions": "registrar",
    "selectors": "event loop",
    "asyncio": "event loop",
}
"""By package, module or function; the longest name that fits counts."""
WHOLE = ("encode",)
"""Stages that count what they call as theirs."""
COMMIT = "store commit"
"""What the threads do that commit and copy SQLite's log back."""
THREADS = {"dpe-audit": "audit log"}
"""What other threads do, by their names."""
OTHER = "other"
"""What belongs to no stage."""

_LINE = "CPU time by stage, s: "

_ffi = cffi.FFI()
_ffi.cdef("""
    struct sigevent { void *value; int signo; int notify; int thread; int unused[11]; };
    struct itimerspec { long interval[2]; long value[2]; };
    int timer_create(int, struct sigevent *, void **);
    int timer_settime(void *, int, struct itimerspec *, void *);
""")
_SIGEV_THREAD_ID = 4  # sigevent(3type)


class Sampler:
    """Made in the main thread; SIGUSR1 begins to sample and, the second time, ends it. ``report`` prints the result."""

    def __init__(self) -> None:
        self._samples: Counter[str] = Counter()
        self._known: dict[CodeType, str | None] = {}
        self._began: dict[int, float] = {}
        self._used: dict[int, float] = {}
        self._names: dict[int, str] = {}
        self._main = threading.get_ident()
        self._libc: Any = _ffi.dlopen(None)
        self._timer = _ffi.new("void **")
        event = _ffi.new("struct sigevent *")
        event.signo, event.notify, event.thread = signal.SIGPROF, _SIGEV_THREAD_ID, threading.get_native_id()
        if self._libc.timer_create(time.CLOCK_THREAD_CPUTIME_ID, event, self._timer):
            raise OSError(_ffi.errno, "there is no timer on a thread's CPU clock")
        signal.signal(signal.SIGPROF, self._sample)
        signal.signal(signal.SIGUSR1, self._toggle)
        signal.siginterrupt(signal.SIGPROF, False)

    def report(self) -> None:
        """Print the seconds of CPU time by stage."""
        spent = {ident: used - self._began.get(ident, 0) for ident, used in self._used.items()}
        each = spent.pop(self._main, 0) / max(1, self._samples.total())
        stages = {stage: count * each for stage, count in self._samples.items()}
        for ident, seconds in spent.items():
            stage = THREADS.get(self._names.get(ident, ""), COMMIT)
            stages[stage] = stages.get(stage, 0) + seconds
        print(_LINE + json.dumps(dict(sorted(stages.items(), key=itemgetter(1), reverse=True))), flush=True)

    def _toggle(self, _number: int, _frame: FrameType | None) -> None:
        now = {ident: time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in sys._current_frames()}
        if self._began:
            self._used = now
            self._names = {thread.ident: thread.name for thread in threading.enumerate() if thread.ident is not None}
            interval = 0
        else:
            self._began = now
            interval = int(INTERVAL * 1e9)
        times = _ffi.new("struct itimerspec *", {"interval": [0, interval], "value": [0, interval]})
        self._libc.timer_settime(self._timer[0], 0, times, _ffi.NULL)

    def _sample(self, _number: int, interrupted: FrameType | None) -> None:
        self._samples[self._stage(interrupted)] += 1

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
    name = f"{frame.f_globals.get('__name__', '')}.{frame.f_code.co_qualname}"
    while name:
        if name in STAGES:
            return STAGES[name]
        name = name.rpartition(".")[0]
    return None


def stages_of(lines: Iterable[str]) -> dict[str, float]:
    """Return what a server has reported: seconds of CPU time by stage, the largest first."""
    found: dict[str, float] = {}
    for line in lines:
        if line.startswith(_LINE):
            found = json.loads(line.removeprefix(_LINE))
    return found
