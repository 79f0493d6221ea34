"""A server that ends begins no registration, and finishes those that it has begun."""

from dpe_coap.binding import Code
from dpe_coap.numbers import Status
from dpe_server.handling.reply import busy
from dpe_server.registration.draining import COME_AGAIN, DRAIN
from tests.server.registration.double import Device, Server, confirmation


def test_a_new_request_is_sent_away_and_what_was_begun_goes_on(server: Server, device: Device) -> None:
    request = device.request()
    offer = server.send(request)
    _, step = device.receive(request, offer)
    success, last = device.success(step, offer)
    other = Device(server, "35209900176149")
    draining = server.registrar.drain(server.now)
    assert draining.awaits()
    assert server.send(other.request()) == busy(COME_AGAIN)
    assert server.send(device.request()) == busy(COME_AGAIN)
    assert server.send(request) == offer, "a REQUEST that comes again gets its RESPONSE again"
    answer = server.send(success)
    assert confirmation(answer, last).status == Status.OK
    assert not draining.awaits()
    assert server.send(success) == answer


def test_whoever_sends_a_request_the_answer_tells_nothing(server: Server, device: Device) -> None:
    server.registrar.drain(server.now)
    stranger = bytearray(device.request())
    stranger[-1] ^= 1
    assert server.handle([device.request(), bytes(stranger)]) == [busy(COME_AGAIN)] * 2
    assert server.take_records() == []


def test_nobody_is_awaited_who_was_answered_long_ago_declined_or_refused(server: Server, device: Device) -> None:
    device.offered()
    server.now += DRAIN + 0.1
    declined, _, _ = Device(server, "35209900176149").offered(status=3)
    server.send(declined)
    refused = Device(server, "35209900176156")
    server.revoke(refused)
    assert server.send(refused.request()).code == Code.UNAUTHORIZED
    assert not server.registrar.drain(server.now).awaits()


def test_all_are_awaited_who_were_answered_a_moment_ago(server: Server) -> None:
    devices = [Device(server, f"352099001{n:05d}") for n in range(3)]
    successes = []
    for device in devices:
        successes.append(device.offered()[0])
        server.now += DRAIN / 4
    draining = server.registrar.drain(server.now)
    for success in successes:
        assert draining.awaits()
        server.send(success)
    assert not draining.awaits()
