"""Two workers, each with a registrar of its own, on one database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dpe_coap.binding import Code
from dpe_coap.numbers import Status
from dpe_server.reply import UNAUTHORIZED
from tests.server.registrar.double import Device, Server, confirmation


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    one = Server(tmp_path / "dpe.sqlite")
    two = Server(tmp_path / "dpe.sqlite")
    two.keys = one.keys
    two.restart()
    yield one, two
    one.store.close()
    two.store.close()


def test_a_success_at_another_worker_starts_over(workers: tuple[Server, Server]) -> None:
    """A NAT gives the device a new address between the exchanges, and the kernel a new worker."""
    one, two = workers
    device = Device(one)
    success, _, _ = device.offered()
    assert two.send(success) == UNAUTHORIZED
    assert not two.rows()
    device.server = two
    device.register()
    assert len(one.rows()) == 1


def test_a_success_that_one_worker_has_confirmed_is_confirmed_by_all(workers: tuple[Server, Server]) -> None:
    one, two = workers
    success, last, _ = Device(one).offered()
    answer = one.send(success)
    assert confirmation(answer, last).status == Status.OK
    assert two.send(success) == answer


def test_the_newest_wins_at_any_worker_when_the_clock_goes_back(workers: tuple[Server, Server]) -> None:
    one, two = workers
    device = Device(one)
    for server in (one, two, one, two):
        device.server = server
        newest = device.register().client_id
        assert [row.client_id for row in one.rows()] == [newest]
        one.wall -= 1000
        two.wall -= 1000


def test_a_client_id_goes_to_one_device_only(workers: tuple[Server, Server]) -> None:
    """Each worker offers the last free one; the store decides, and the other device is told to start over."""
    one, two = workers
    Device(one, "35209900100001").register("3.0")
    first, second = Device(one, "35209900100002"), Device(two, "35209900100003")
    (success, last, offered), (late, _, same) = first.offered("3.0"), second.offered("3.0")
    assert offered.client_id == same.client_id
    assert confirmation(one.send(success), last).status == Status.OK
    assert two.send(late) == UNAUTHORIZED
    request = second.request("3.0")
    assert two.send(request).code == Code.SERVICE_UNAVAILABLE
    assert len(one.rows()) == 2


def test_what_an_operator_does_holds_for_all_workers(workers: tuple[Server, Server]) -> None:
    one, two = workers
    device = Device(two)
    device.register()
    one.store.revoke(one.device_id(device.imei), 0)
    assert two.send(device.request()) == UNAUTHORIZED
    one.store.set_minimum_epoch(2)
    other = Device(two, "35209900176149")
    request = other.request()
    assert other.receive(request, two.send(request))[0].status == Status.REPROVISION
