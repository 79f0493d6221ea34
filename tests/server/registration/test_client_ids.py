"""Which Client ID a REQUEST is offered, and by what of it the policy decides."""

from os import urandom

from dpe_coap.messages import Response
from dpe_coap.numbers import Status
from dpe_server import policy
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
