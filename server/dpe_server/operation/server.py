"""One running DPE Server: its state directory, store, sockets and housekeeping around the registrar."""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Self

import structlog

from dpe_coap.errors import DpeError
from dpe_server import policy
from dpe_server.coap.aiocoap_endpoint import CoapServer
from dpe_server.coap.subjects import Crowds
from dpe_server.handling.batching import Batcher
from dpe_server.keys.ring import KeyRing
from dpe_server.net.peers import Peers
from dpe_server.net.udp import UdpSocket, listen
from dpe_server.operation import beats, loaded
from dpe_server.operation.audit import AuditLog
from dpe_server.operation.beats import Beats, BeatsError
from dpe_server.operation.capturing import capture
from dpe_server.operation.config import Config
from dpe_server.operation.loaded import Loaded
from dpe_server.operation.nodes import EVERY, LackingError, Presence, active_of, keys_of
from dpe_server.operation.publishing import Counters, publish
from dpe_server.operation.resources import lane, router, scheduler
from dpe_server.operation.state_dir import StateDir
from dpe_server.policy import Policy
from dpe_server.registration.draining import DRAIN
from dpe_server.registration.ordinals import Ordinals, OrdinalSource, SequenceOrdinals
from dpe_server.registration.registrar import Registrar
from dpe_server.registration.transaction_table import Transactions
from dpe_server.session.audit_records import session_ended
from dpe_server.session.sessions import Sessions
from dpe_server.store.changes import KEPT
from dpe_server.store.contract import PRUNE_CHUNK, TRACE, Expired, Store, StoreError
from dpe_server.store.nodes import Generation, KeyName
from dpe_server.store.opening import nodes_of

HOUSEKEEPING = 60.0
"""Seconds between looks for sessions to prune."""
BEATS_EVERY = 60
"""At how many of these looks once a process beats that is not the first."""
CHANGES_EVERY = 60
"""At how many of these looks once the changes are cut, too: it costs a look-up for each session that they name."""
DRAIN_LOOK = 0.05
"""Seconds between two looks whether a server that ends is done."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """One of several processes that together are a server. The first process made the sockets and holds the lock."""

    number: int
    """From 0; worker 0 does the housekeeping."""
    sockets: Sequence[UdpSocket]
    ordinals: OrdinalSource
    crowds: Crowds
    """What the sockets' schedulers know; each process has a copy."""


class Server:
    """One running server on the state directory ``path``; ``async with`` starts it and stops it gracefully.

    It listens at ``addresses`` (``HOST:PORT``) or, without any, where its configuration says. Entering raises a
    DpeError when the server cannot run: another one runs on the state directory, a port is in use, the policy is bad,
    and so on.

    With ``metrics``, its numbers are written into that folder (``snapshots``); with ``audit_peers``, peers into the
    audit log; with ``pcap``, every datagram into that file. A worker's sockets are captured by who made them.
    """

    def __init__(
        self,
        path: Path,
        addresses: Sequence[str] = (),
        *,
        worker: Worker | None = None,
        metrics: Path | None = None,
        pcap: Path | None = None,
        audit_peers: bool = False,
    ) -> None:
        self._path = path
        self._addresses = addresses
        self._pcap = pcap
        self._audit_peers = audit_peers
        self._worker = worker
        self._metrics = metrics
        self._cleanup = AsyncExitStack()
        self.uris: list[str] = []
        """Where it listens."""
        self.failed: asyncio.Future[DpeError]
        """Done, with the reason, when nothing may be served any more."""

    @property
    def public_uri(self) -> str:
        """Where devices find it; not before it has started."""
        return self._config.uri

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
        state_dir = StateDir.open(self._path)
        if self._worker is None:
            stack.enter_context(state_dir.lock())
            loaded.forget(state_dir.path)
            stack.callback(loaded.forget, state_dir.path)
            beats.verify(state_dir)
            beats.take_recovered(state_dir)
        self._config = state_dir.config
        has_loaded = Loaded.of(state_dir, [])
        self._store = state_dir.make_store() if self._worker is None else state_dir.open_store()
        stack.callback(self._store.close)
        if self._worker is None:
            beats.begin_journal(state_dir, self._store)
        self._beats = Beats(state_dir, self._store, secrets.token_bytes)
        self._held = state_dir.keys
        self._keys = keys_of(state_dir, self._store)
        peers = Peers() if self._audit_peers else None
        self._audit = AuditLog(state_dir.audit_path, state_dir.audit_limits, peer_of=peers.of if peers else None)
        stack.callback(lambda: self._audit.close(time.time()))
        self._policy = policy.load(state_dir.policy_path)
        self._transactions = Transactions(secrets.token_bytes)
        self._registrar = Registrar(
            realm=state_dir.config.realm,
            keys=self._keys,
            policy=self._policy,
            random=secrets.token_bytes,
            retry_after=state_dir.config.retry_after,
            ordinals=ordinals_of(self._store) if self._worker is None else self._worker.ordinals,
            transactions=self._transactions,
        )
        self._sessions = Sessions(
            keys=self._keys,
            policy=self._policy,
            random=secrets.token_bytes,
            retry_after=state_dir.config.retry_after,
        )
        crowds = Crowds() if self._worker is None else self._worker.crowds
        sockets = sockets_of(state_dir, self._addresses, crowds) if self._worker is None else self._worker.sockets
        if peers:
            for socket in sockets:
                socket.note_to(peers)
        if self._pcap is not None:
            stack.callback(capture(sockets, self._pcap).close)
        self._batcher = Batcher(
            self._store,
            retry_after=state_dir.config.retry_after,
            wall=self._store.wall,
            audit=lambda records: self._audit.write(records, time.monotonic(), time.time()),
            crowd=crowds.add,
        )
        handlers = self._registrar, self._sessions
        lanes = [lane(socket, *(partial(self._batcher.take, handler) for handler in handlers)) for socket in sockets]
        resources = router(*(partial(self._batcher.submit, handler) for handler in handlers))
        self._coap = CoapServer(lanes, resources, retry_after=state_dir.config.retry_after)
        stack.push_async_callback(self._coap.close)
        stack.push_async_callback(self._batcher.close)
        stack.push_async_callback(self._coap.stop)
        self._loop = asyncio.get_running_loop()
        self.failed = self._loop.create_future()
        housekeeping = asyncio.create_task(self._keep_house())
        stack.callback(housekeeping.cancel)
        if self._metrics is not None:
            counters = Counters(
                self._batcher, self._transactions, self._registrar, self._sessions, self._audit, lanes, self._coap
            )
            stack.callback(asyncio.create_task(publish(self._metrics, counters)).cancel)
        self._beats.beat()
        self._coap.start()
        self.uris = [socket.uri for socket in sockets]
        self._say(replace(has_loaded, uris=self.uris))
        await self._join_others(stack, state_dir)

    async def drain(self) -> None:
        """Take no new REQUEST from now on; return when no device may confirm any more, some seconds later at most.

        SUCCESSes and the requests of sessions are served as before, also after that, until it stops.
        """
        draining = self._registrar.drain(time.monotonic())
        until = time.monotonic() + DRAIN
        while draining.awaits() and time.monotonic() < until:  # noqa: ASYNC110  # nobody tells when one confirms
            await asyncio.sleep(DRAIN_LOOK)

    async def reload(self) -> None:
        """Read the policy and the keys again, and go on in a new audit log if the old one was moved away.

        If either has a fault, both stay as they were, and one log line says what is wrong.
        """
        self._audit.reopen()
        try:
            # In a thread: a policy of thousands of rules takes a while.
            state_dir, keys, new_policy, has_loaded = await asyncio.to_thread(self._read)
        except DpeError as error:
            _log.error("not reloaded, the old policy and keys stay", reason=str(error))
            return
        self._held = state_dir.keys
        await self._batcher.exclusively(lambda: self._take_over(keys, new_policy))
        await asyncio.to_thread(self._say, has_loaded)
        await self._hear_others()
        _log.info("policy and keys reloaded")
        changed = [
            key.name for key in fields(Config) if getattr(state_dir.config, key.name) != getattr(self._config, key.name)
        ]
        if changed:
            _log.warning("config.toml not reloaded, restart the server", changed=", ".join(changed))

    def _take_over(self, keys: KeyRing, new_policy: Policy) -> None:
        self._keys, self._policy = keys, new_policy
        self._registrar.reload(keys=keys, policy=new_policy)
        self._sessions.reload(policy=new_policy)

    def _read(self) -> tuple[StateDir, KeyRing, Policy, Loaded]:
        state_dir = StateDir.open(self._path)
        has_loaded = Loaded.of(state_dir, self.uris)
        config = {"config.toml": self._loaded.files["config.toml"]}  # a reload does not take it
        if self._nodes is not None:
            self._nodes.check(state_dir.binding)
        return (
            state_dir,
            keys_of(state_dir, self._store),
            policy.load(state_dir.policy_path),
            replace(has_loaded, files={**has_loaded.files, **config}),
        )

    def _say(self, has_loaded: Loaded) -> None:
        """Write down what this process has loaded, for those who must know what it has not."""
        self._loaded = has_loaded
        try:
            loaded.write(self._path, 0 if self._worker is None else self._worker.number, has_loaded)
        except OSError as error:
            _log.warning("what is loaded is not written down", reason=error.strerror or str(error))

    async def _join_others(self, stack: AsyncExitStack, state_dir: StateDir) -> None:
        """If others share the store, tell them now and then that this server runs, and hear which keys they use."""
        self._nodes = nodes_of(self._store)
        self._lacks = self._deaf = False
        if self._nodes is None:
            return
        self._presence = Presence(state_dir, self._nodes, secrets.token_bytes(8)) if self._is_first else None
        if self._presence is not None:
            stack.push_async_callback(self._leave_others, self._presence)
        await self._hear_others()
        hearing = asyncio.create_task(self._keep_hearing())
        stack.callback(hearing.cancel)

    @staticmethod
    async def _leave_others(presence: Presence) -> None:
        with suppress(StoreError):  # they notice
            await asyncio.to_thread(presence.stop)

    async def _keep_hearing(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await self._hear_others()

    async def _hear_others(self) -> None:
        if self._nodes is None:
            return
        hear = self._nodes.generations if self._presence is None else self._presence.tell
        try:
            await self._obey(await asyncio.to_thread(hear))
            if self._deaf:
                _log.info("other nodes heard again")
            self._deaf = False
        except StoreError as error:
            if not self._deaf:
                _log.warning("other nodes not heard", reason=str(error))
            self._deaf = True

    async def _obey(self, generations: Mapping[KeyName, Generation]) -> None:
        """Use the keys that the other nodes use."""
        try:
            keys = active_of(self._held, generations)
        except LackingError as error:
            if not self._lacks:
                _log.error("a key is missing, and devices are refused", reason=str(error), hint=error.hint)
            self._lacks = True
            return
        self._lacks = False
        if (keys.epoch, keys.hkid) != (self._keys.epoch, self._keys.hkid):
            await self._batcher.exclusively(lambda: self._take_over(keys, self._policy))
            _log.info("other keys are current", epoch=keys.epoch, handle_key=keys.hkid)

    @property
    def _is_first(self) -> bool:
        return self._worker is None or self._worker.number == 0

    async def _keep_house(self) -> None:
        first = self._is_first
        for turn in count():
            if first:
                await self._prune()
            if first and turn % CHANGES_EVERY == 0:
                await self._drop_changes()
            self._audit.write((), time.monotonic(), time.time())
            await asyncio.sleep(HOUSEKEEPING)
            # Each process of a server knows a shared store again by a beat of its own, which must not get too old.
            own = self._nodes is not None and turn % BEATS_EVERY == 0
            if first or own:
                with suppress(StoreError):  # if the purge cannot be done either, that is logged
                    await asyncio.to_thread(self._store.prepare_purge)
                if not await self._batcher.exclusively(self._beat):
                    return

    def _beat(self) -> bool:
        """Append a beat. If the store is not the one that was left, close it at once, so that nothing more happens."""
        try:
            self._beats.beat()
        except BeatsError as error:
            self._store.close()
            self._loop.call_soon_threadsafe(self.failed.set_result, error)
            return False
        return True

    async def _prune(self) -> None:
        """End the sessions that are over, and delete the traces of those that ended long enough ago."""
        now = int(self._store.wall())
        before = now - max(self._config.retention, TRACE)
        await self._in_chunks("sessions expired", lambda: self._store.expire(now), self._log_expired)
        await self._in_chunks("traces of sessions pruned", lambda: range(self._store.prune(before)))

    async def _drop_changes(self) -> None:
        """Drop of the changes what nobody need read any more."""
        before = int(self._store.wall()) - KEPT
        after: int | None = 0
        try:
            while after is not None:
                # Beside the batches, which wait for a millisecond of it.
                after = await asyncio.to_thread(self._store.drop_changes, after, before)
        except StoreError as error:
            _log.warning("housekeeping failed", reason=str(error))

    def _log_expired(self, over: Sequence[Expired]) -> None:
        records = [session_ended(one, "expired") for one in over]
        self._audit.write(records, time.monotonic(), time.time())

    async def _in_chunks(
        self, done: str, act: Callable[[], Sequence[Any]], tell: Callable[[Sequence[Any]], None] = lambda _: None
    ) -> None:
        total, more = 0, True
        try:
            while more:  # batches have their turn in between
                some = await self._batcher.exclusively(act)
                tell(some)
                total, more = total + len(some), len(some) == PRUNE_CHUNK
        except StoreError as error:
            _log.warning("housekeeping failed", reason=str(error))
        if total:
            _log.info(done, count=total)


def ordinals_of(store: Store) -> OrdinalSource:
    """Return what gives the ordinals of a server that begins now: of all its processes, if it has several."""
    if store.remote:  # other machines give some too
        return SequenceOrdinals()
    return Ordinals.after(store.last_ordinal(), time.monotonic(), time.time())


def sockets_of(state_dir: StateDir, addresses: Sequence[str], crowds: Crowds) -> list[UdpSocket]:
    """Open a server's sockets at ``addresses``, or else where its configuration says; ListenError."""
    sockets, left_out = listen(addresses or state_dir.config.listen, scheduling=partial(scheduler, crowds))
    for note in left_out:
        _log.info(note)
    return sockets
