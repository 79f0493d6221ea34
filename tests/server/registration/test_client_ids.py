"""Which Client ID a REQUEST is offered, and by what of it the policy decides."""

from os import urandom

import pytest

from dpe_coap.client_ids import client_id_of
from dpe_coap.messages import Response
from dpe_coap.numbers import Status
from dpe_server import policy
from dpe_server.registration import id_manager
from dpe_server.registration.admission import ALL
from dpe_server.registration.allowances import MINUTE
from dpe_server.store.questions import Facts, Questions
from tests.server.registration.double import Device, Server, confirmation

STABLE = """
[[rule]]
action = "accept"
range = ["40000000000000", "%s"]
client_id = "stable"
"""

FRESH = """
[[rule]]
action = "accept"
range = ["%014x", "%014x"]
"""


def under(server: Server, text: str) -> None:
    server.registrar.reload(keys=server.keys, policy=policy.parse(text))


def answers(server: Server, device: Device, requests: list[bytes]) -> list[Response]:
    """Send REQUESTs in one batch."""
    replies = server.handle(requests)
    return [device.receive(request, reply)[0] for request, reply in zip(requests, replies, strict=True)]


def many(server: Server, count: int) -> list[Device]:
    return [Device(server, f"352099002{number:05}") for number in range(count)]


def offers(server: Server, devices: list[Device], requests: list[bytes]) -> list[int | None]:
    """Send the REQUESTs of several devices in one batch; return the Client IDs offered, None where there is none."""
    replies = server.handle(requests)
    offered: list[int | None] = []
    for device, request, reply in zip(devices, requests, replies, strict=True):
        response, _ = device.receive(request, reply)
        assert response.status == (Status.UNAVAILABLE if response.client_id is None else Status.OK)
        offered.append(None if response.client_id is None else client_id_of(response.client_id))
    return offered


def test_a_stable_client_id_is_one_for_all_requests_of_a_batch(server: Server, device: Device) -> None:
    under(server, STABLE % "4fffffffffffff")
    first, second = answers(server, device, [device.request(), device.request()])
    assert first.status == second.status == Status.OK
    assert first.client_id == second.client_id


def test_fresh_client_ids_differ_in_a_batch(server: Server, device: Device) -> None:
    first, second = answers(server, device, [device.request(), device.request()])
    assert first.status == second.status == Status.OK
    assert first.client_id != second.client_id


def test_a_stable_client_id_may_be_the_only_one_of_the_range(server: Server, device: Device) -> None:
    under(server, STABLE % "40000000000000")
    given = [device.register().client_id for _ in range(2)]
    assert given == [bytes.fromhex("40000000000000")] * 2
    assert answers(server, device, [device.request()])[0].client_id == given[0], "offered, not yet confirmed"


def test_a_stable_client_id_stays_with_the_last_offer(server: Server, device: Device) -> None:
    under(server, STABLE % "4fffffffffffff")
    held = device.register().client_id
    success, last, response = device.offered()
    assert response.client_id == held
    assert confirmation(server.send(success), last).status == Status.OK


def test_each_device_of_a_batch_has_a_stable_client_id_of_its_own_in_each_range(server: Server) -> None:
    under(
        server,
        """
[[rule]]
version = "1.0"
action = "accept"
range = ["40000000000000", "4fffffffffffff"]
client_id = "stable"

[[rule]]
version = "1.1"
action = "accept"
range = ["50000000000000", "5fffffffffffff"]
client_id = "stable"
""",
    )
    one, other = many(server, 2)
    senders = [(one, "1.0"), (one, "1.0"), (one, "1.1"), (other, "1.1"), (other, "1.0"), (one, "1.1")]
    devices = [device for device, _ in senders]
    ones, same, ones_second, others_second, others, same_second = offers(
        server, devices, [device.request(version) for device, version in senders]
    )
    assert (same, same_second) == (ones, ones_second)
    assert len({ones, others}) == len({ones_second, others_second}) == 2
    assert all(n is not None and n >> 52 == 4 for n in (ones, others))
    assert all(n is not None and n >> 52 == 5 for n in (ones_second, others_second))


def test_refusals_and_offers_of_one_batch_do_not_get_mixed_up(server: Server) -> None:
    versions = ["5.0", "1.0", "4.0", "3.0", "1.1"]
    devices = many(server, len(versions))
    requests = [device.request(version) for device, version in zip(devices, versions, strict=True)]
    replies = server.handle(requests)
    exchanges = zip(devices, requests, replies, strict=True)
    responses = [device.receive(request, reply)[0] for device, request, reply in exchanges]
    assert [response.status for response in responses] == [
        Status.REFUSED,
        Status.OK,
        Status.REDIRECT,
        Status.OK,
        Status.OK,
    ]
    assert [n.hex()[0] for response in responses if (n := response.client_id)] == ["1", "3", "1"]


def test_where_there_is_room_a_batch_is_one_look_at_the_store(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Questions] = []
    look = server.store.look

    def counted(questions: Questions) -> Facts:
        asked.append(questions)
        return look(questions)

    monkeypatch.setattr(server.store, "look", counted)
    devices = many(server, 20)
    assert None not in offers(server, devices, [device.request() for device in devices])
    assert len(asked) == 1


def test_what_is_refused_is_probed_among_all_client_ids() -> None:
    """As one of a range is for what is accepted: the time must not tell."""
    assert ALL == (0, 0xFFFFFFFFFFFFFF)


def test_a_client_id_that_the_device_declined_is_not_its_own(server: Server, device: Device) -> None:
    under(server, STABLE % "4fffffffffffff")
    success, last, declined = device.offered(status=Status.DECLINED)
    assert confirmation(server.send(success), last).status == Status.RELEASED
    assert device.offered()[2].client_id != declined.client_id


def test_a_stable_client_id_that_is_offered_is_asked_about_again_in_its_batch(server: Server, device: Device) -> None:
    """Beside a device that is new, and one whose range is another's."""
    under(server, STABLE % "4fffffffffffff")
    other = Device(server, "35209900000001")
    offered = device.offered()[2].client_id
    requests = [device.request(), other.request(), device.request()]
    replies = server.handle(requests)
    senders = [device, other, device]
    given = [
        one.receive(request, reply)[0].client_id for one, request, reply in zip(senders, requests, replies, strict=True)
    ]
    assert given[0] == given[2] == offered
    assert given[1] not in (None, offered)


def test_a_batch_gets_the_last_client_ids_of_a_range_by_further_looks(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_manager, "WINDOW", 4)
    first = 0x40000000000000
    under(server, FRESH % (first, first + 15))
    devices = many(server, 18)
    offered = offers(server, devices, [device.request() for device in devices])
    assert sorted(n for n in offered if n is not None) == list(range(first, first + 16))
    (late,) = offers(server, devices[:1], [devices[0].request()])
    assert late is None, "all are reserved"


def test_a_repeated_success_is_answered_once_when_the_requests_of_its_batch_take_further_looks(
    server: Server, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_manager, "WINDOW", 4)
    success, _, _ = device.offered()
    answer = server.send(success)
    under(server, FRESH % (0x40000000000000, 0x4000000000000F))
    server.take_records()
    assert server.handle([success, *(other.request() for other in many(server, 18))])[0] == answer
    assert server.events().count("confirm-repeated") == 1


def test_a_stable_client_id_that_a_further_look_finds_is_one_for_all_requests_of_a_batch(server: Server) -> None:
    one, other = many(server, 2)
    for first in range(0x40000000000000, 0x40000000000100, 16):
        server.now += MINUTE  # a device has so many requests in each
        under(server, FRESH % (first, first + 1))
        (taken,) = offers(server, [other], [other.request()])
        assert taken is not None
        under(server, FRESH % (first, first + 1) + 'client_id = "stable"')
        assert offers(server, [one] * 2, [one.request(), one.request()]) == [2 * first + 1 - taken] * 2


def test_the_policy_decides_by_model_firmware_and_suite(server: Server, device: Device) -> None:
    under(
        server,
        """
[[rule]]
name = "old"
tac = ["35209900"]
firmware = "4.2"
action = "redirect"
server = "coap://other.example"

[[rule]]
name = "weak"
tac = ["35209900"]
action = "require-x25519"

[[rule]]
name = "modern"
tac = ["35209900"]
action = "accept"
range = ["40000000000000", "4fffffffffffff"]
""",
    )
    other = Device(server, "49015420323751")
    private = urandom(32)
    for one, firmware, key, status in (
        (device, "4.2", None, Status.REDIRECT),
        (device, "4.3", None, Status.SUITE_TOO_WEAK),
        (device, None, None, Status.SUITE_TOO_WEAK),
        (device, None, private, Status.OK),
        (other, "4.2", None, Status.REFUSED),
    ):
        request = one.request(firmware=firmware, private=key)
        assert one.receive(request, server.send(request), key)[0].status == status
