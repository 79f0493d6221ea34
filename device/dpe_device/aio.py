"""The DPE Client as a coroutine, for CPython's asyncio and MicroPython's (1.21 or later).

Cancelled at any point it closes its socket, and what it had saved lets the next registration go on: it repeats SUCCESS
if the server had accepted, and begins anew otherwise. Saving is the storage's, and blocks.
"""

import asyncio
import os
import sys

from .registration import Registration
from .udp import Driver, parse_uri, resolve

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import Address, Any, Credential, Property, Sequence, Settings, Storage, Trace, Unpack, Value

_LITTLE = const(256)  # as in `udp`


async def register(
    credential: "Credential",
    storage: "Storage",
    *,
    deadline_ms: "int | None" = None,
    trace: "Trace | None" = None,
    **settings: "Unpack[Settings]",
) -> Registration:
    """Register over UDP: as `udp.register`, and other tasks run while it waits."""
    registration = Registration(credential, storage, os.urandom, **settings)
    registration.start()
    await _run(Driver(registration, deadline_ms, trace))
    return registration


async def report(
    device: "Any", values: "dict[Property, Value]", *, deadline_ms: "int | None" = None
) -> "dict[Property | None, int]":
    """Report over UDP: as `udp.report`, and other tasks run while it waits."""
    device.begin(values, deadline_ms)
    await _run(device)
    dropped: "dict[Property | None, int]" = device.reporter.dropped
    return dropped


async def deregister(device: "Any", *, deadline_ms: "int | None" = None) -> bool:
    """End the session: as `udp.deregister`, and other tasks run while it waits."""
    if device.registration.state == "IDLE":
        return False
    device.begin(None, deadline_ms)
    await _run(device)
    confirmed: bool = device.reporter.code == 0x42
    return confirmed


async def _run(driver: Driver) -> None:
    received = None
    try:
        while True:
            uri = driver.step(received)
            found: "Sequence[Any]" = ()
            try:
                if uri:
                    found = await _resolve(uri, driver.left())
            except (OSError, ValueError):  # TimeoutError is an OSError
                pass
            wait = driver.send(found)
            if wait is None:
                return
            received = None
            try:
                received = await _receive(driver.socket, driver.longest, wait)
            except MemoryError:
                if driver.longest < _LITTLE:
                    raise
                driver.longest //= 2
    finally:
        driver.close()


if sys.implementation.name == "micropython":

    async def _resolve(uri: str, wait: "float | None") -> "list[Any]":
        return resolve(uri)  # the name service blocks on every port

    async def _receive(sock: "Any", longest: int, wait: float) -> "tuple[bytes, Address] | None":
        # asyncio has no datagrams here, so it polls: 50 times a second at most, and less often in a long wait.
        await asyncio.sleep(wait if sock is None else min(wait, max(0.02, wait / 100)))
        if sock is None:
            return None
        sock.setblocking(False)
        try:
            received: "tuple[bytes, Address]" = sock.recvfrom(longest)
        except OSError:
            return None
        return received

else:

    async def _resolve(uri: str, wait: "float | None") -> "list[Any]":
        import socket

        host, port = parse_uri(uri)
        async with asyncio.timeout(wait):
            return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)

    async def _receive(sock: "Any", longest: int, wait: float) -> "tuple[bytes, Address] | None":
        if sock is None:
            await asyncio.sleep(wait)
            return None
        sock.setblocking(False)
        try:
            async with asyncio.timeout(wait):
                return await asyncio.get_running_loop().sock_recvfrom(sock, longest)
        except OSError:  # TimeoutError is one
            return None
