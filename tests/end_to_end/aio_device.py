"""A device's program for the tests of `dpe_device.aio`, on both interpreters: `aio_device.py CREDENTIAL STATE`.

It registers again and again, and cancels each registration one suspension later than the previous one, until one ends
before it is cancelled. After each registration it boots, looks at what is left, and registers undisturbed. It prints
how many registrations it cancelled, then the Client IDs.
"""

import asyncio
import os
import sys
from binascii import hexlify

from dpe_device import aio
from dpe_device.registration import CONFIRMING, IDLE, REGISTERED, Registration
from dpe_device.store import FileStore, load_credential

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

try:
    from types import coroutine
except ImportError:  # MicroPython, where every generator is one
    coroutine = lambda function: function  # noqa: E731


@coroutine
def counted(awaited: "Any", suspensions: "list[int]", last: asyncio.Event) -> "Generator[Any, Any, Any]":
    """Await, and count the suspensions down. When none is left, set the event."""
    iterator = awaited.__await__() if hasattr(awaited, "__await__") else awaited
    while True:
        try:
            yielded = next(iterator)
        except StopIteration as stop:
            return stop.value
        if suspensions[0] == 0:
            last.set()
        suspensions[0] -= 1
        yield yielded


async def interrupted(credential: "dict[str, Any]", keeper: FileStore, suspensions: int) -> "Registration | None":
    """Register, and cancel that at the suspension with this number, from 0. Return None if it was cancelled."""
    last = asyncio.Event()
    task = asyncio.create_task(_awaited(counted(aio.register(credential, keeper), [suspensions], last)))
    watch = asyncio.create_task(_cancel(task, last))
    try:
        done: Registration = await task
        return done
    except asyncio.CancelledError:
        return None
    finally:
        watch.cancel()


async def _awaited(awaitable: "Any") -> "Any":
    return await awaitable


async def _cancel(task: "asyncio.Task[Any]", last: asyncio.Event) -> None:
    await last.wait()
    task.cancel()


async def main(path: str, state: str) -> None:
    """Do what the module's docstring says."""
    credential, keeper = load_credential(path), FileStore(state)
    cancelled = 0
    client_ids = []
    held = None
    while True:
        before = await interrupted(credential, keeper, cancelled)
        after = Registration(credential, keeper, os.urandom)
        if before is not None:
            assert before.state == after.state == REGISTERED
            assert before.client_id == after.client_id != held
            client_ids.append(before.client_id)
            break
        assert after.state in ((IDLE, CONFIRMING) if held is None else (CONFIRMING, REGISTERED))
        assert after.state != REGISTERED or after.client_id == held
        cancelled += 1
        done = await aio.register(credential, keeper, deadline_ms=30000)
        assert done.state == REGISTERED
        held = done.client_id
        client_ids.append(held)
    print(cancelled)
    for client_id in client_ids:
        print(str(hexlify(client_id or b""), "ascii"))


asyncio.run(main(sys.argv[1], sys.argv[2]))
