"""An attacker off the path has recorded REQUESTs of a device, and sends them again while the device registers."""

from os import urandom

import pytest

from dpe_coap.keys import HandleKey
from dpe_coap.numbers import Status
from dpe_server import policy
from dpe_server.handling.reply import UNAUTHORIZED
from dpe_server.keys.ring import nobodys
from dpe_server.registration.transaction_table import PER_DEVICE
from tests.server.registration.double import POLICY, WALL, Device, Server, confirmation

MINUTE = 60.0


def wait(server: Server, seconds: float) -> None:
    server.now += seconds
    server.wall += seconds


def renewed(device: Device) -> bytes:
    """Let a device register, some time after the last event; return its REQUEST. It has a new handle then."""
    wait(device.server, 400)
    request = device.request()
    reply = device.server.send(request)
    response, step = device.receive(request, reply)
    success, last = device.success(step, reply)
    assert confirmation(device.server.send(success), last).status == Status.OK
    assert response.sealed_handle is not None
    device.handle = step.mask(response.sealed_handle)
    return request


def issued(device: Device) -> int:
    return device.server.keys.claim(device.handle, nobodys(urandom))[2]


def test_handles_rise_along_a_device_s_chain_even_if_the_clock_is_set_back(server: Server, device: Device) -> None:
    renewed(device)
    assert issued(device) == server.wall == WALL + 400
    renewed(device)
    assert issued(device) == server.wall == WALL + 800
    server.wall -= 3 * 365 * 86_400
    for number in range(1, 4):
        renewed(device)
        assert issued(device) == WALL + 800 + number


def test_recordings_of_earlier_registrations_do_not_stop_a_device(server: Server, device: Device) -> None:
    recordings = [renewed(device) for _ in range(3 * PER_DEVICE)]
    wait(server, 400)
    success, last, _ = device.offered()
    for recording in recordings:
        server.send(recording)
    assert confirmation(server.send(success), last).status == Status.OK


def test_recordings_made_before_handles_had_a_time_do_not_stop_a_device_for_long(
    server: Server, device: Device
) -> None:
    """Random bytes are read as their time of issue: that may be fresher than the device's own, but not for ever."""
    key = HandleKey(7, server.keys.handle[7])
    recordings = []
    for number in range(PER_DEVICE):
        device.handle = key.seal(1, device.imei, 0xFFFFFFFF - number, urandom(4))
        recordings.append(device.request())
    device.handle = key.seal(1, device.imei, 0x01020304, urandom(4))
    renewed(device)
    assert issued(device) == server.wall
    success, last, _ = device.offered()
    for recording in recordings:
        server.send(recording)
    assert confirmation(server.send(success), last).status == Status.OK


def test_a_random_time_of_issue_does_not_take_a_device_to_the_end_of_the_numbers(
    server: Server, device: Device
) -> None:
    device.handle = HandleKey(7, server.keys.handle[7]).seal(1, device.imei, 0xFFFFFFFF, urandom(4))
    for _ in range(3):
        renewed(device)
        assert issued(device) == server.wall


def test_recordings_of_the_very_same_handle_win_one_round(server: Server, device: Device) -> None:
    """The attacker has recorded four REQUESTs that got no answer, and is faster than a round trip."""
    recordings = [device.request() for _ in range(PER_DEVICE)]
    request = device.request()
    reply = server.send(request)
    response, step = device.receive(request, reply)
    success, _ = device.success(step, reply)
    for recording in recordings:
        server.send(recording)
    assert server.send(success) == UNAUTHORIZED
    assert response.sealed_handle is not None
    device.handle = step.mask(response.sealed_handle)
    success, last, _ = device.offered()
    for recording in recordings:
        server.send(recording)
    assert confirmation(server.send(success), last).status == Status.OK


def test_a_device_that_lost_its_storage_still_enters(server: Server, device: Device) -> None:
    """It has the handle from the factory, the oldest of all."""
    factory = device.handle
    recordings = [renewed(device) for _ in range(PER_DEVICE)]
    wait(server, 400)
    for recording in recordings:
        server.send(recording)
    device.handle = factory
    success, last, _ = device.offered()
    assert confirmation(server.send(success), last).status == Status.OK


def test_a_device_that_lost_its_storage_loses_to_who_answers_within_the_round_trip(
    server: Server, device: Device
) -> None:
    factory = device.handle
    recordings = [renewed(device) for _ in range(PER_DEVICE)]
    wait(server, 400)
    device.handle = factory
    success, _, _ = device.offered()
    for recording in recordings:
        server.send(recording)
    assert server.send(success) == UNAUTHORIZED


def test_an_imei_in_clear_is_the_oldest_handle_and_the_next_is_issued_now(server: Server, device: Device) -> None:
    server.registrar.reload(keys=server.keys, policy=policy.parse("allow_clear_imei = true\n" + POLICY))
    request = device.request(clear=True)
    response, step = device.receive(request, server.send(request))
    assert response.sealed_handle is not None
    device.handle = step.mask(response.sealed_handle)
    assert issued(device) == WALL
    success, last, _ = device.offered()
    for _ in range(PER_DEVICE):
        server.send(device.request(clear=True))
    assert confirmation(server.send(success), last).status == Status.OK


@pytest.mark.parametrize("worker", [0, 1])
def test_each_worker_has_its_own_table_and_keeps_the_freshest_in_it(
    server: Server, device: Device, worker: int
) -> None:
    """Where a datagram comes from decides which worker gets it. Recordings sent to both push out nothing."""
    recordings = [renewed(device) for _ in range(2 * PER_DEVICE)]
    workers = [server.registrar, server.another()]
    server.registrar = workers[worker]
    wait(server, 400)
    success, last, _ = device.offered()
    for server.registrar in workers:
        for recording in recordings:
            server.send(recording)
    server.registrar = workers[worker]
    assert confirmation(server.send(success), last).status == Status.OK
