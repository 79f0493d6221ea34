"""The DPE Server as a process: state directory, sockets, signals and housekeeping around the registrar."""

import asyncio
import gc
import secrets
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Self

import structlog

from dpe_coap.errors import DpeError
from dpe_server import policy
from dpe_server.coap.aiocoap_endpoint import CoapServer
from dpe_server.files import logs
from dpe_server.handling.batching import Batcher
from dpe_server.net.udp import UdpSocket, listen
from dpe_server.operation import process_memory
from dpe_server.operation.audit import AuditLog
from dpe_server.operation.resources import lane, router, scheduler
from dpe_server.operation.state_dir import StateDir
from dpe_server.operation.workers import Ties, supervise
from dpe_server.registration.ordinals import Ordinals
from dpe_server.registration.registrar import Registrar
from dpe_server.registration.transactions import LIFE
from dpe_server.store.contract import PRUNE_CHUNK, StoreError
from dpe_server.store.sqlite.store import SqliteStore

HOUSEKEEPING = 60.0
"""Seconds between looks for sessions to prune."""

SWITCH_INTERVAL = 0.0005
"""Seconds after which the event loop's thread gives way to the one that commits."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """One of several processes that are a server together. The first process holds the lock and made the sockets."""

    number: int
    """From 0; that one keeps house."""
    sockets: Sequence[UdpSocket]
    ordinals: Ordinals


class Server:
    """One running server on the state directory ``path``; ``async with`` starts it and stops it gracefully.

    ``addresses`` (``HOST:PORT``) are where it listens, if not where its configuration says. Entering raises a DpeError
    when the server cannot run: another one runs on the state directory, a port is in use, the policy is bad, and so on.
    """

    def __init__(self, path: Path, addresses: Sequence[str] = (), *, worker: Worker | None = None) -> None:
        self._path = path
        self._addresses = addresses
        self._worker = worker
        self._cleanup = AsyncExitStack()
        self.uris: list[str] = []
        """Where it listens."""

    async def __aenter__(self) -> Self:
        """Start; what was begun is undone when that fails."""
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._cleanup = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more requests, answer those that were taken, and let go of everything."""
        await self._cleanup.aclose()

    async def _start(self, stack: AsyncExitStack) -> None:
        state = StateDir.open(self._path)
        if self._worker is None:
            stack.enter_context(state.lock())
        self._config = state.config
        self._store = SqliteStore(state.store_path)
        stack.callback(self._store.close)
        self._audit = AuditLog(state.audit_path)
        stack.callback(lambda: self._audit.close(time.time()))
        self._registrar = Registrar(
            realm=state.config.realm,
            keys=state.keys,
            policy=policy.load(state.policy_path),
            random=secrets.token_bytes,
            retry_after=state.config.retry_after,
            ordinals=(
                Ordinals.after(self._store.last_ordinal(), time.monotonic(), time.time())
                if self._worker is None
                else self._worker.ordinals
            ),
        )
        sockets = _listen(state, self._addresses) if self._worker is None else self._worker.sockets
        self._batcher = Batcher(
            self._store,
            retry_after=state.config.retry_after,
            audit=lambda records: self._audit.write(records, time.monotonic(), time.time()),
        )
        lanes = [lane(socket, partial(self._batcher.take, self._registrar)) for socket in sockets]
        resources = router(partial(self._batcher.submit, self._registrar))
        self._coap = CoapServer(lanes, resources, retry_after=state.config.retry_after)
        stack.push_async_callback(self._coap.close)
        stack.push_async_callback(self._batcher.close)
        stack.push_async_callback(self._coap.stop)
        housekeeping = asyncio.create_task(self._keep_house())
        stack.callback(housekeeping.cancel)
        self._coap.start()
        self.uris = [socket.uri for socket in sockets]

    async def reload(self) -> None:
        """Read the policy and the keys again, and go on in a new audit log if the old one was moved away.

        A policy or keys that are not as they must be change nothing; one log line says which.
        """
        self._audit.reopen()
        try:
            state = StateDir.open(self._path)
            new_policy = policy.load(state.policy_path)
        except DpeError as error:
            _log.error("not reloaded, the old policy and keys stay", reason=str(error))
            return
        await self._batcher.exclusively(lambda: self._registrar.reload(keys=state.keys, policy=new_policy))
        _log.info("policy and keys reloaded")

    async def _keep_house(self) -> None:
        while True:
            if self._worker is None or self._worker.number == 0:
                await self._prune()
            self._audit.write((), time.monotonic(), time.time())
            await asyncio.sleep(HOUSEKEEPING)

    async def _prune(self) -> None:
        # A SUCCESS that is older than the session may still come, and must find that out.
        before = int(time.time()) - max(self._config.retention, int(LIFE))
        pruned, more = 0, True
        try:
            while more:  # batches have their turn in between
                count = await self._batcher.exclusively(lambda: self._store.prune(before))
                pruned, more = pruned + count, count == PRUNE_CHUNK
        except StoreError as error:
            _log.warning("sessions not pruned", reason=str(error))
        if pruned:
            _log.info("sessions pruned", count=pruned)


def _listen(state: StateDir, addresses: Sequence[str]) -> list[UdpSocket]:
    sockets, left_out = listen(addresses or state.config.listen, scheduling=scheduler)
    for note in left_out:
        _log.info(note)
    return sockets


def _announce(uris: Sequence[str]) -> None:
    for uri in uris:
        print(f"listening on {uri}", flush=True)


async def _serve(server: Server, ready: Callable[[], None], orphaned: int | None = None) -> None:
    """Run a server until SIGTERM or SIGINT, or until ``orphaned`` becomes readable."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_unhandled)
    stopping = asyncio.Event()
    hang_up = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, hang_up.set)
    if orphaned is not None:
        loop.add_reader(orphaned, stopping.set)
    async with server:
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not look at it again
        ready()
        reloading = asyncio.create_task(_reload_on(hang_up, server))
        await stopping.wait()
        reloading.cancel()
        if orphaned is None:
            _log.info("stopping")


async def _reload_on(hang_up: asyncio.Event, server: Server) -> None:
    while True:
        await hang_up.wait()
        hang_up.clear()
        try:
            await server.reload()
        except Exception as error:
            logs.log_defect("reload failed", error)


def _log_unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what went wrong in a callback or a task that nobody waits for: a defect, which ends nothing but itself."""
    logs.log_defect(context["message"].partition("\n")[0], context.get("exception"))


def serve(path: Path, addresses: Sequence[str] = (), *, workers: int = 1, json_log: bool = False) -> None:
    """Run a server until SIGTERM or SIGINT; SIGHUP reloads its policy and keys.

    Prints ``listening on coap://HOST:PORT`` for each address once it answers there. The log goes to standard error, as
    JSON lines if ``json_log``. With more than one of ``workers``, so many processes share the addresses and the store.
    Raises a DpeError when the server cannot start, or when its workers die.
    """
    logs.configure(as_json=json_log)
    process_memory.keep_private()
    # sqlite3 lets go of the interpreter at each step; with the default of 5 ms a commit crawls beside a busy loop.
    sys.setswitchinterval(SWITCH_INTERVAL)
    if workers > 1:
        _serve_with(workers, path, addresses)
        return
    server = Server(path, addresses)
    asyncio.run(_serve(server, lambda: _announce(server.uris)))


def _serve_with(workers: int, path: Path, addresses: Sequence[str]) -> None:
    state = StateDir.open(path)
    with ExitStack() as stack:
        stack.enter_context(state.lock())
        policy.load(state.policy_path)  # what would stop every worker is said once, and here
        with closing(SqliteStore(state.store_path)) as store:
            ordinals = Ordinals.after(store.last_ordinal(), time.monotonic(), time.time())
        stack.callback(_tidy, state.store_path)
        sockets = _listen(state, addresses)
        sets = [sockets, *([socket.another() for socket in sockets] for _ in range(1, workers))]
        for socket in chain.from_iterable(sets):
            stack.callback(socket.close)

        def run(number: int, ties: Ties) -> None:
            server = Server(path, worker=Worker(number, sets[number], ordinals))
            asyncio.run(_serve(server, ties.ready, ties.orphaned))

        supervise(workers, run, lambda: _announce([socket.uri for socket in sockets]))


def _tidy(path: Path) -> None:
    """Leave the database as one file: of two workers that close it at once, neither may see that it is the last.

    It is opened anew for that: SQLite forbids to keep a connection over a fork.
    """
    with suppress(StoreError):  # a worker's log says what is wrong
        SqliteStore(path).close()
