"""Two registrars on one database, as in two worker processes: what one cannot know, the store decides."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpe_coap.binding import Code
from dpe_coap.numbers import Status
from dpe_server import policy
from dpe_server.handling.reply import UNAUTHORIZED
from dpe_server.registration.ordinals import Ordinals
from dpe_server.registration.registrar import Registrar
from tests.server.registration.double import POLICY, REALM, Device, Server, confirmation


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
                random=random.Random(1).randbytes,
                ordinals=Ordinals.after(0, server.now, server.wall),
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
    assert first.client_ids() == [offered.client_id]
    again = two.register()
    assert set(first.client_ids()) == {offered.client_id, again.client_id}


def test_a_stable_client_id_that_another_device_has_got_meanwhile_is_not_offered_again(twins: Twins) -> None:
    offers = []
    for server, digits in zip(twins.servers, ("35209900176148", "35209900176149"), strict=True):
        device, private = Device(server, digits), bytes(31) + b"\1"
        request = device.request("2.0", private=private)
        reply = server.send(request)
        offers.append((device, private, *device.receive(request, reply, private), reply))
    (one, _, response, step, reply), (two, private, theirs, _, _) = offers
    assert response.client_id == theirs.client_id
    success, _ = one.success(step, reply)
    assert one.server.send(success).code == Code.CHANGED
    request = two.request("2.0", private=private)
    fresh, _ = two.receive(request, two.server.send(request), private)
    assert fresh.client_id not in (None, response.client_id)


def test_a_client_id_that_is_taken_is_not_drawn_by_another(twins: Twins) -> None:
    first, second = twins.servers
    one, two = Device(first, "35209900176148"), Device(second, "35209900176149")
    assert one.register().client_id != two.register().client_id
    assert len(second.rows()) == 2


@pytest.mark.parametrize("years", [0, 10, -10])
def test_the_registration_that_began_later_wins_wherever_it_was_made(twins: Twins, years: int) -> None:
    """However the wall clock was set meanwhile."""
    first, second = twins.servers
    older, confirm, _ = Device(first).offered()
    second.now += 1
    first.wall = second.wall = second.wall + years * 365 * 86400
    newer = Device(second).register()
    reply = first.send(older)
    assert confirm.verify(reply.payload)
    assert first.events()[-1] == "superseded"
    assert first.client_ids() == [newer.client_id]


def test_a_success_at_another_worker_starts_over(twins: Twins) -> None:
    """A NAT gives the device a new address between the exchanges, and the kernel a new worker."""
    one, two = twins.servers
    device = Device(one)
    success, _, _ = device.offered()
    assert two.send(success) == UNAUTHORIZED
    assert not two.rows()
    device.server = two
    device.register()
    assert len(one.rows()) == 1


def test_a_success_that_one_worker_has_confirmed_is_confirmed_by_all(twins: Twins) -> None:
    one, two = twins.servers
    success, last, _ = Device(one).offered()
    answer = one.send(success)
    assert confirmation(answer, last).status == Status.OK
    assert two.send(success) == answer


def test_the_newest_wins_at_any_worker_when_the_clock_goes_back(twins: Twins) -> None:
    one, two = twins.servers
    device = Device(one)
    for server in (one, two, one, two):
        device.server = server
        newest = device.register().client_id
        assert one.client_ids() == [newest]
        for each in (one, two):
            each.now += 1
            each.wall -= 1000


def test_what_an_operator_does_holds_for_all_workers(twins: Twins) -> None:
    one, two = twins.servers
    device = Device(two)
    device.register()
    one.revoke(device)
    assert two.send(device.request()) == UNAUTHORIZED
    one.set_minimum_epoch(2)
    other = Device(two, "35209900176149")
    request = other.request()
    assert other.receive(request, two.send(request))[0].status == Status.REPROVISION
