"""The batcher and the registrar on a real PostgreSQL database, with a connection that is cut or hangs."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from os import urandom
from pathlib import Path

import pytest

from dpe_coap.keys import ConfirmStep
from dpe_coap.numbers import Status
from dpe_server import policy
from dpe_server.handling import batching
from dpe_server.handling.batching import Batcher
from dpe_server.handling.reply import UNAUTHORIZED, busy
from dpe_server.registration.ordinals import SequenceOrdinals
from dpe_server.registration.registrar import Registrar
from dpe_server.store.contract import Change, Outcome
from dpe_server.store.postgresql.store import PostgresqlStore
from dpe_server.store.questions import PLACE_BITS, Facts, Questions
from tests.postgresql import Cluster
from tests.postgresql_proxy import Cut, Proxy, proxy
from tests.server.registration.double import POLICY, REALM, Device, Server, confirmation

PATIENT = 30.0


class Hasty:
    """A node's store, with little patience for a commit."""

    remote = True

    def __init__(self, url: str) -> None:
        self.store = PostgresqlStore(url, one_machine=True)
        self.commits = 0

    def look(self, questions: Questions) -> Facts:
        return self.store.look(questions)

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        self.commits += 1
        return self.store.commit(changes, patience=0.1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Who has the keys; its own store is not asked."""
    made = Server(tmp_path / "dpe.sqlite")
    yield made
    made.store.close()


@pytest.fixture
def device(server: Server) -> Device:
    return Device(server)


@pytest.fixture
def between(tmp_path: Path, postgresql: Cluster) -> Iterator[Proxy]:
    (tmp_path / "proxy").mkdir()
    with proxy(tmp_path / "proxy", postgresql.folder) as made:
        yield made


@pytest.fixture
def url(postgresql: Cluster) -> str:
    return postgresql.emptied()


@pytest.fixture
def node(url: str, between: Proxy, postgresql: Cluster) -> Iterator[Hasty]:
    """A node behind the proxy."""
    made = Hasty(postgresql.url(url.rpartition("%3D")[2], folder=between.folder))
    with closing(made.store):
        yield made


@pytest.fixture
def direct(url: str) -> Iterator[PostgresqlStore]:
    """The same database as another node has it."""
    with closing(PostgresqlStore(url, one_machine=True)) as made:
        yield made


def registrar_of(server: Server) -> Registrar:
    return Registrar(
        realm=REALM, keys=server.keys, policy=policy.parse(POLICY), random=urandom, ordinals=SequenceOrdinals(),
        retry_after=30,
    )  # fmt: skip


def run(node: Hasty, test: Callable[[Batcher], Awaitable[None]], clock: Callable[[], float] = lambda: 1000.0) -> None:
    async def main() -> None:
        batcher = Batcher(node, retry_after=30, clock=clock, wall=node.store.wall)
        try:
            await asyncio.wait_for(test(batcher), PATIENT)
        finally:
            await batcher.close()

    asyncio.run(main())


async def offered(batcher: Batcher, registrar: Registrar, device: Device) -> tuple[bytes, ConfirmStep]:
    request = device.request()
    reply = await batcher.submit(registrar, request)
    _, step = device.receive(request, reply)
    return device.success(step, reply)


def test_a_success_whose_commit_hangs_is_confirmed_when_it_was_given_again(
    server: Server, device: Device, node: Hasty, direct: PostgresqlStore, between: Proxy
) -> None:
    registrar = registrar_of(server)

    async def test(batcher: Batcher) -> None:
        success, last = await offered(batcher, registrar, device)
        between.cut(server.device_id(device.imei), Cut.HOLD)
        reply = await batcher.submit(registrar, success)
        assert confirmation(reply, last).status == Status.OK

    run(node, test)
    assert node.commits >= 2
    (row,) = direct.live(0)
    between.let_go()
    assert between.done.wait(PATIENT)
    assert list(direct.live(0)) == [row], "the first attempt changes nothing when it comes at last"
    assert between.cancelled == 0


def test_when_patience_ends_it_is_5_03_and_the_same_success_settles_it_at_either_node(
    server: Server, device: Device, node: Hasty, direct: PostgresqlStore, between: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    registrar, other = registrar_of(server), registrar_of(server)
    monkeypatch.setattr(batching, "UNKNOWN_PATIENCE", 0.0)

    async def test(batcher: Batcher) -> None:
        success, last = await offered(batcher, registrar, device)
        between.cut(server.device_id(device.imei), Cut.HOLD)
        assert await batcher.submit(registrar, success) == busy(30)
        assert await batcher.submit(other, success) == UNAUTHORIZED, "the other node only knows what is durable"
        between.let_go()
        assert await asyncio.to_thread(between.done.wait, PATIENT)
        for node in (other, registrar):
            assert confirmation(await batcher.submit(node, success), last).status == Status.OK

    run(node, test)
    assert len(list(direct.live(0))) == 1


def test_ordinals_are_numbers_of_the_database_whichever_node_answers(
    server: Server, node: Hasty, direct: PostgresqlStore
) -> None:
    """Of two registrations at two nodes, the one whose REQUEST was answered last has the higher ordinal."""
    registrars = [registrar_of(server), registrar_of(server)]
    device = Device(server, "35209900176156")

    async def test(batcher: Batcher) -> None:
        for registrar in (*registrars, *registrars):
            before = direct.look(Questions(number=True)).number
            success, last = await offered(batcher, registrar, device)
            reply = await batcher.submit(registrar, success)
            assert confirmation(reply, last).status == Status.OK
            (row,) = direct.live(0)
            assert before < row.ordinal >> PLACE_BITS < direct.look(Questions(number=True)).number

    run(node, test)
