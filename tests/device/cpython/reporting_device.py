"""A device's program, on both interpreters: `reporting_device.py CREDENTIAL STATE blocking|asyncio`.

It reports three times, once after a boot, and deregisters. It prints what was dropped, and the state after each step.
"""

import sys

from dpe_device import aio, udp
from dpe_device.device import Device
from dpe_device.store import FileStore, load_credential

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    import cryptolib

    def aes(key: bytes) -> "Any":
        return cryptolib.aes(key, 1)

except ImportError:
    from dpe_device.aes import AES as aes  # noqa: N811

STEPS: "tuple[dict[Any, Any] | None, ...]" = (
    {0: 87, 1: "1.4.2", "vendor/temp": 21.5},
    {0: 86, 1: "1.4.2"},
    None,
)


def main(path: str, state: str, how: str) -> None:
    for values in STEPS:
        device = Device(load_credential(path), FileStore(state), aes, ack_timeout=500)
        for value in (values, values) if values else (values,):
            if how == "blocking":
                done: Any = udp.deregister(device) if value is None else udp.report(device, value)
            else:
                import asyncio

                wanted: Any = aio.deregister(device) if value is None else aio.report(device, value)
                done = asyncio.run(wanted)
            print(done, device.registration.state)


main(*sys.argv[1:])
