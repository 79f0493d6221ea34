"""Which Client ID a REQUEST is offered, and by what of it the policy decides."""

from os import urandom

from dpe_coap.client_ids import client_id_of
from dpe_coap.messages import Response, Version
from dpe_coap.numbers import Status
from dpe_server import policy
from dpe_server.store.contract import Session
from tests.server.registration.double import Device, Server, confirmation

STABLE = """
[[rule]]
action = "accept"
range = ["40000000000000", "%s"]
client_id = "stable"
"""


def under(server: Server, text: str) -> None:
    server.registrar.reload(keys=server.keys, policy=policy.parse(text))


def answers(server: Server, device: Device, requests: list[bytes]) -> list[Response]:
    """Send REQUESTs in one batch."""
    replies = server.handle(requests)
    return [device.receive(request, reply)[0] for request, reply in zip(requests, replies, strict=True)]


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


def test_a_batch_takes_what_a_nearly_full_range_has(server: Server) -> None:
    """Look by look: windows of a few free Client IDs, until there are enough for all, or no more."""
    under(server, '[[rule]]\naction = "accept"\nrange = ["50000000000000", "50000000003fff"]\n')
    free = set(range(0x50000000000000, 0x50000000004000, 1000))
    server.store.commit([session(n) for n in range(0x50000000000000, 0x50000000004000) if n not in free])
    devices = [Device(server, f"3520990030{number:04d}") for number in range(len(free) - 3)]
    requests = [device.request() for device in devices]
    replies = server.handle(requests)
    answers = [one.receive(request, reply)[0] for one, request, reply in zip(devices, requests, replies, strict=True)]
    given = {client_id_of(answer.client_id) for answer in answers if answer.client_id is not None}
    assert len(given) > len(devices) // 2
    assert given <= free
    assert len(given) == sum(answer.status == Status.OK for answer in answers)
    assert {answer.status for answer in answers} <= {Status.OK, Status.UNAVAILABLE}


def session(client_id: int) -> Session:
    return Session(
        client_id=client_id,
        device=client_id.to_bytes(16, "big"),
        sealed_imei=bytes(36),
        version=Version(1, 0),
        firmware=None,
        suite=1,
        rule="rule",
        ordinal=1,
        established_at=1,
        expires_at=None,
        th3=bytes(32),
        success_hash=client_id.to_bytes(32, "big"),
        confirm=bytes(23),
        sealed_keys=bytes(52),
        properties="{}",
        policies="{}",
    )


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
