"""A server with a known delay for some messages, which the instrument must find.

``python -m tests.assurance.timing.planting STATE [HOST:PORT ...]`` serves as ``python -m dpe_server`` does.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter_ns

from dpe_coap.messages import Version
from dpe_server.operation import app, server
from dpe_server.registration.batch import Registrations
from dpe_server.registration.registrar import Registrar

DELAYS = (0, 500, 1_000, 2_000, 5_000, 20_000)
"""Nanoseconds by which a REQUEST with DPE version 1.(10 + n) is answered later."""

LEAST = 3_000
"""Nanoseconds by which all of them are delayed, because reading the clock takes time, too."""

_MINOR = slice(22, 26)
"""The offset of the version in a REQUEST with a handle."""
_BY_VERSION = {b"\x02\x82\x01" + bytes([10 + number]): LEAST + delay for number, delay in enumerate(DELAYS)}


def version(number: int) -> Version:
    """Return the version that has the delay of this number."""
    return Version(1, 10 + number)


class SlowRegistrar(Registrar):
    """Waits busily before it answers."""

    def read(self, payloads: Sequence[bytes], now: float) -> Registrations:
        """As ``Registrar.read``, later."""
        batch = super().read(payloads, now)
        end = perf_counter_ns() + sum(_BY_VERSION.get(payload[_MINOR], 0) for payload in payloads)
        while perf_counter_ns() < end:
            pass
        return batch


if __name__ == "__main__":
    server.Registrar = SlowRegistrar  # type: ignore[attr-defined]
    app.serve(Path(sys.argv[1]), sys.argv[2:])
