"""The DPE Server as a program: one process or several, their signals, where it listens, its operational log."""

import asyncio
import gc
import secrets
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import structlog

from dpe_server import policy
from dpe_server.coap.subjects import Crowds
from dpe_server.files import logs
from dpe_server.files.line_writer import LineWriter
from dpe_server.files.uris import is_loopback
from dpe_server.operation import beats, loaded, nodes, process_memory, signals
from dpe_server.operation.capturing import capture
from dpe_server.operation.exposing import Exposition, serving
from dpe_server.operation.notify import Pulse, Teller, notify, watchdog
from dpe_server.operation.server import Server, Worker, ordinals_of, sockets_of
from dpe_server.operation.state_dir import StateDir
from dpe_server.operation.workers import Ties, UnservableError, supervise
from dpe_server.store.contract import StoreError
from dpe_server.store.opening import open_store

SWITCH_INTERVAL = 0.0005
"""Seconds after which the event loop's thread gives way to the one that commits."""

_log = structlog.get_logger(__name__)


def serve(
    path: Path,
    addresses: Sequence[str] = (),
    *,
    workers: int = 1,
    json_log: bool = False,
    metrics: str | None = None,
    log_level: str = "info",
    log_priorities: bool | None = None,
    pcap: Path | None = None,
    audit_peers: bool = False,
) -> None:
    """Run a server until SIGTERM or SIGINT; SIGHUP reloads its policy and keys.

    On SIGTERM it finishes the registrations that it has begun; on SIGINT, or another SIGTERM, it stops at once.

    Prints ``listening on coap://HOST:PORT`` for each address once it answers there, or logs it if ``json_log``. The log
    goes to standard error (``logs.configure``), as JSON lines if ``json_log``. With ``workers`` above 1, that many
    processes share the addresses and the store. With ``metrics`` (``HOST:PORT``), its numbers are served there. Every
    datagram is written to the file ``pcap``, if one is named. With ``audit_peers``, the audit log names peers. Raises a
    DpeError when the server cannot start, or when its workers die.
    """
    signals.hold()
    signals.open_standard_streams()
    logs.configure(as_json=json_log, level=log_level, priorities=log_priorities)
    process_memory.keep_private()
    # sqlite3 releases the interpreter at each step; with the default of 5 ms a commit crawls beside a busy loop.
    sys.setswitchinterval(SWITCH_INTERVAL)
    announcement = LineWriter(
        sys.stdout, refused=lambda line: _log.warning("standard output is closed or full", unsaid=line)
    )

    def ready(uri: str, uris: Sequence[str]) -> None:
        if exposition is not None:
            _say_where(exposition, path)
        for one in uris:
            if json_log:
                _log.info("listening", uri=one)
            else:
                announcement.put(f"listening on {one}")
        if all(map(is_loopback, uris)) and not is_loopback(uri):
            hint = "name addresses as listen in config.toml, or with --listen"
            _log.warning("only this machine can reach the server", devices_come_to=uri, hint=hint)
        notify("READY=1")

    exposition: Exposition | None = None
    try:
        with ExitStack() as stack:
            if metrics is not None:
                exposition = stack.enter_context(serving(path, metrics))
                _log.info("metrics", url=exposition.url)
            if workers > 1:
                _serve_with(workers, path, addresses, ready, exposition, pcap=pcap, audit_peers=audit_peers)
            else:
                folder = None if exposition is None else exposition.folder
                server = Server(path, addresses, metrics=folder, pcap=pcap, audit_peers=audit_peers)
                look = None if exposition is None else exposition.look
                asyncio.run(_run(server, lambda: ready(server.public_uri, server.uris), Teller.alone(), look=look))
    finally:
        announcement.finish()
        logs.finish()
        signals.release()


def _say_where(exposition: Exposition, path: Path) -> None:
    """Note in the state directory, whose lock is held, where the metrics are."""
    try:
        loaded.write_metrics(path, exposition.url)
    except OSError as error:
        _log.warning("where the metrics are is not written down", reason=error.strerror or str(error))


def _serve_with(
    workers: int,
    path: Path,
    addresses: Sequence[str],
    ready: Callable[[str, Sequence[str]], None],
    exposition: Exposition | None,
    *,
    pcap: Path | None,
    audit_peers: bool,
) -> None:
    state_dir = StateDir.open(path)
    with ExitStack() as stack:
        stack.enter_context(state_dir.lock())
        loaded.forget(path)
        stack.callback(loaded.forget, path)
        policy.load(state_dir.policy_path)  # what would stop every worker is reported once, here
        beats.verify(state_dir)
        beats.take_recovered(state_dir)
        with closing(state_dir.make_store()) as store:
            nodes.keys_of(state_dir, store)  # what would stop every worker, as above
            beats.begin_journal(state_dir, store)
            beats.Beats(state_dir, store, secrets.token_bytes).beat()  # so that each worker finds one to remember
            ordinals = ordinals_of(store)
        if not state_dir.config.store:
            stack.callback(_tidy, state_dir.store_url)
        crowds = Crowds()
        sockets = sockets_of(state_dir, addresses, crowds)
        sets = [sockets, *([socket.another() for socket in sockets] for _ in range(1, workers))]
        everywhere = list(chain.from_iterable(sets))
        for socket in everywhere:
            stack.callback(socket.close)
        if pcap is not None:
            stack.callback(capture(everywhere, pcap).close)

        pulse, limit = Pulse(workers), watchdog()

        def run(number: int, ties: Ties) -> None:
            worker = Worker(number, sets[number], ordinals, crowds)
            folder = None if exposition is None else exposition.folder
            server = Server(path, worker=worker, metrics=folder, audit_peers=audit_peers)
            try:
                asyncio.run(_run(server, ties.ready, Teller(pulse, number, limit), ties.orphaned))
            except beats.BeatsError as error:
                raise UnservableError(str(error), hint=error.hint) from None

        supervise(
            workers,
            run,
            lambda: ready(state_dir.config.uri, [socket.uri for socket in sockets]),
            look=(lambda: None) if exposition is None else exposition.look,
            pulse=pulse,
        )


def _tidy(store_url: str) -> None:
    """Leave a SQLite database as one file: when two workers close it at once, neither may notice that it is the last.

    It is opened again for this, because SQLite forbids using a connection across a fork.
    """
    with suppress(StoreError):  # a worker's log says what is wrong
        open_store(store_url).close()


async def _run(
    server: Server,
    ready: Callable[[], None],
    teller: Teller,
    orphaned: int | None = None,
    look: Callable[[], None] | None = None,
) -> None:
    """Run a server until SIGTERM or SIGINT, or until ``orphaned`` becomes readable. On SIGTERM it drains first.

    ``look`` is called when a process of its own has ended. Raises a DpeError when it cannot start, or nothing may be
    served any more.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_unhandled)
    draining, stopping, hang_up = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, lambda: (stopping if draining.is_set() else draining).set())
    loop.add_signal_handler(signal.SIGINT, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, hang_up.set)
    signals.release()
    if orphaned is not None:
        loop.add_reader(orphaned, stopping.set)
    async with server:
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not visit it again
        ready()
        if look is not None:
            loop.add_signal_handler(signal.SIGCHLD, look)
            look()  # it may have ended before
        others = [asyncio.create_task(_reload_on(hang_up, server, teller)), asyncio.create_task(_beat(teller))]

        def stop() -> None:
            if orphaned is None:
                _log.info("stopping")
                notify("STOPPING=1")

        told_to_stop = asyncio.create_task(stopping.wait())
        drained = asyncio.create_task(_drain_on(draining, server, stop))
        await asyncio.wait((told_to_stop, drained, server.failed), return_when=asyncio.FIRST_COMPLETED)
        told_to_stop.cancel()
        drained.cancel()
        for task in others:
            task.cancel()
        if server.failed.done():
            raise server.failed.result()
        if not draining.is_set():
            stop()


async def _drain_on(draining: asyncio.Event, server: Server, begun: Callable[[], None]) -> None:
    await draining.wait()
    begun()
    await server.drain()


async def _reload_on(hang_up: asyncio.Event, server: Server, teller: Teller) -> None:
    while True:
        await hang_up.wait()
        hang_up.clear()
        began = teller.reload()
        try:
            await server.reload()
        except Exception as error:
            logs.log_defect("reload failed", error)
        teller.reloaded(began)


async def _beat(teller: Teller) -> None:
    """Tell that the event loop goes round, as long as somebody wants to hear it."""
    while teller.every is not None:
        teller.beat()
        await asyncio.sleep(teller.every)


def _log_unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an exception of a callback, or of a task that nobody waits for: a defect, which ends nothing but itself."""
    logs.log_defect(context["message"].partition("\n")[0], context.get("exception"))
