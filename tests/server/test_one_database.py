"""Two registrars on one database, as in two worker processes: what one cannot know, the store decides."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpe_coap.binding import Code
from dpe_server import policy
from dpe_server.registrar import Registrar
from tests.server.registrar.double import POLICY, REALM, Device, Server


class Twins:
    """Registrars with the same keys and the same randomness, each with its own connection to the database."""

    def __init__(self, path: Path) -> None:
        self.servers = [Server(path), Server(path)]
        self.servers[1].keys = self.servers[0].keys
        for server in self.servers:
            server.registrar = Registrar(
                realm=REALM,
                keys=server.keys,
                policy=policy.parse(POLICY),
                store=server.store,
                random=random.Random(1).randbytes,
            )


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[Twins]:
    twins = Twins(tmp_path / "dpe.sqlite")
    yield twins
    for server in twins.servers:
        server.store.close()


def test_of_two_that_draw_one_client_id_the_first_to_commit_has_it(twins: Twins) -> None:
    first, second = twins.servers
    one, two = Device(first, "35209900176148"), Device(second, "35209900176149")
    success, _, offered = one.offered()
    late, _, same = two.offered()
    assert offered.client_id == same.client_id
    assert first.send(success).code == Code.CHANGED
    assert second.send(late).code == Code.UNAUTHORIZED
    assert second.events()[-1] == "unauthenticated"
    assert [row.client_id for row in first.rows()] == [offered.client_id]
    again = two.register()
    assert {row.client_id for row in first.rows()} == {offered.client_id, again.client_id}


def test_a_client_id_that_is_taken_is_not_drawn_by_another(twins: Twins) -> None:
    first, second = twins.servers
    one, two = Device(first, "35209900176148"), Device(second, "35209900176149")
    assert one.register().client_id != two.register().client_id
    assert len(second.rows()) == 2


def test_the_registration_that_began_later_wins_wherever_it_was_made(twins: Twins) -> None:
    first, second = twins.servers
    older, confirm, _ = Device(first).offered()
    second.wall += 1
    newer = Device(second).register()
    reply = first.send(older)
    assert confirm.verify(reply.payload)
    assert first.events()[-1] == "superseded"
    assert [row.client_id for row in first.rows()] == [newer.client_id]
