"""What the registrar writes down of its decisions: every event once, with what belongs to it and nothing else."""

from os import urandom

import pytest

from dpe_coap import keys as schedule
from dpe_coap.messages import Request, Response, Success, Version, encode
from dpe_coap.numbers import Status
from dpe_server import policy
from dpe_server.registration.admission import STORE_PAUSE
from dpe_server.registration.transactions import LIFE
from dpe_server.store.contract import Unrevoke
from tests.server.registration.double import POLICY, REALM, Device, Server

NUMBERED = {"response", "established", "superseded", "declined", "store-failed"}
"""The events of a registration, which have its number in common."""


def records(server: Server) -> list[tuple[str, dict[str, str | int]]]:
    """Return the records so far, without the numbers of registrations, which those have that must have one."""
    found = []
    for record in server.take_records():
        number = record.details.pop("registration", None)
        assert (number is not None) == (
            record.event in NUMBERED or str(record.details.get("reason", "")).startswith("not committed")
        )
        found.append((record.event, record.details))
    return found


def name(server: Server, device: Device) -> str:
    return server.device_id(device.imei).hex()[:16]


def client_id(response: Response) -> str:
    assert response.client_id is not None
    return response.client_id.hex()


def unauthenticated(reason: str) -> list[tuple[str, dict[str, str | int]]]:
    return [("unauthenticated", {"reason": reason})]


def test_a_registration(server: Server, device: Device) -> None:
    success, _, response = device.offered()
    named = {"device": name(server, device), "client_id": client_id(response)}
    assert records(server) == [("response", {**named, "status": "ok", "rule": "current", "version": "1.0", "suite": 1})]
    server.send(success)
    assert records(server) == [("established", {**named, "rule": "current", "suite": 1})]
    server.send(success)
    assert records(server) == [("confirm-repeated", {"client_id": client_id(response)})]


def test_the_events_of_a_registration_have_a_number_in_common(server: Server, device: Device) -> None:
    first, _, _ = device.offered()
    second, _, _ = device.offered()
    server.send(second)
    server.send(first)
    other = Device(server, "35209900299999")
    other.register()
    told = [(one.event, one.details["registration"]) for one in server.take_records()]
    events = ["response", "response", "established", "superseded", "response", "established"]
    assert [event for event, _ in told] == events
    numbers = [number for _, number in told]
    assert numbers == [numbers[0], numbers[1], numbers[1], numbers[0], numbers[4], numbers[4]]
    assert len(set(numbers)) == 3


def test_each_record_knows_the_end_of_its_message(server: Server, device: Device) -> None:
    request = device.request()
    reply = server.send(request)
    _, step = device.receive(request, reply)
    success, _ = device.success(step, reply)
    for payload in (success, success, b"\x80", device.request(realm="another realm")):
        server.send(payload)
        (record,) = server.take_records()[-1:]
        assert record.end == payload[-8:]
    for _ in range(50):
        request = device.request()
        server.send(request)
    limited = [one for one in server.take_records() if one.event == "limited"]
    assert {len(one.end) for one in limited} == {8}


def test_a_registration_with_x25519(server: Server, device: Device) -> None:
    private = urandom(32)
    request = device.request("2.0", private=private)
    reply = server.send(request)
    response, step = device.receive(request, reply, private)
    server.send(device.success(step, reply)[0])
    named = {"device": name(server, device), "client_id": client_id(response)}
    assert records(server) == [
        ("response", {**named, "status": "ok", "rule": "modern", "version": "2.0", "suite": 2}),
        ("established", {**named, "rule": "modern", "suite": 2}),
    ]


@pytest.mark.parametrize(
    ("version", "status", "rule"),
    [
        ("2.0", "suite_too_weak", "weak"),
        ("4.0", "redirect", "elsewhere"),
        ("5.0", "refused", "unwanted"),
        ("9.9", "version_not_supported", "future"),
    ],
)
def test_a_refusal(server: Server, device: Device, version: str, status: str, rule: str) -> None:
    server.send(device.request(version))
    said = {"status": status, "rule": rule, "version": version, "suite": 1}
    assert records(server) == [("response", {"device": name(server, device), **said})]


def test_an_exhausted_range(server: Server) -> None:
    for number in range(2):
        Device(server, f"3520990010000{number}").register("3.0")
    server.take_records()
    device = Device(server)
    server.send(device.request("3.0"))
    said = {"status": "unavailable", "rule": "small", "version": "3.0", "suite": 1}
    assert records(server) == [("response", {"device": name(server, device), **said})]


def test_a_minimum_epoch(server: Server, device: Device) -> None:
    server.set_minimum_epoch(2)
    server.send(device.request())
    said = {
        "device": name(server, device),
        "status": "reprovision",
        "rule": "minimum epoch",
        "version": "1.0",
        "suite": 1,
    }
    assert records(server) == [("response", said)]


def test_a_store_failure(server: Server, device: Device) -> None:
    success, _, _ = device.offered()
    server.store.broken = True
    records(server)
    server.send(success)
    server.send(device.request())
    said = {"status": "unavailable", "rule": "store failure", "version": "1.0", "suite": 1}
    unavailable = {"device": name(server, device), **said}
    assert records(server) == [("store-failed", {"device": name(server, device)}), ("response", unavailable)]
    server.store.broken = False
    server.now += STORE_PAUSE
    server.send(success)
    assert [event for event, _ in records(server)] == ["established"]


def test_a_decline_and_a_registration_that_a_newer_one_has_overtaken(server: Server, device: Device) -> None:
    declined, _, released = device.offered(status=Status.STORAGE_FAILURE)
    older, _, overtaken = device.offered()
    newer, _, response = device.offered()
    records(server)
    named = {"device": name(server, device)}
    for success in (declined, newer, older, older):
        server.send(success)
    assert records(server) == [
        ("declined", {**named, "client_id": client_id(released), "status": Status.STORAGE_FAILURE}),
        ("established", {**named, "client_id": client_id(response), "rule": "current", "suite": 1}),
        ("superseded", {**named, "client_id": client_id(overtaken)}),
    ]


def test_a_registration_that_takes_the_place_of_an_earlier_one(server: Server, device: Device) -> None:
    device.register()
    newer = device.register()
    *_, established, superseded = records(server)
    assert established[1]["client_id"] == client_id(newer)
    assert superseded == ("superseded", {"device": name(server, device), "by": client_id(newer)})


def test_what_has_superseded_a_session_is_what_the_commit_has_replaced(server: Server, device: Device) -> None:
    """Not what one process remembers: it forgets with a restart, and does not see a session end."""
    device.register()
    server.restart()
    device.register()
    assert [event for event, _ in records(server)][-2:] == ["established", "superseded"]
    server.revoke(device)
    server.store.commit([Unrevoke(server.device_id(device.imei))])
    device.register()
    assert [event for event, _ in records(server)][-1] == "established"


def test_why_a_request_is_unauthenticated(server: Server, device: Device) -> None:
    server.send(device.request(realm="another realm"))
    assert records(server) == unauthenticated("bad security token")
    server.send(device.request(clear=True))
    assert records(server) == unauthenticated("IMEI in clear, which the policy does not allow")
    server.registrar.reload(keys=server.keys, policy=policy.parse("allow_clear_imei = true\n" + POLICY))
    server.send(encode(Request(bytes.fromhex("4901542032375a"), Version(1, 0), bytes(32))))
    assert records(server) == unauthenticated("IMEI in clear is not decimal")
    foreign = Device(server)
    foreign.handle = bytes([1]) + urandom(16)
    server.send(foreign.request())
    assert records(server) in (unauthenticated("bad handle"), unauthenticated("bad security token"))
    foreign.handle = bytes([99]) + urandom(16)
    server.send(foreign.request())
    assert records(server) == unauthenticated("bad handle")
    server.revoke(device)
    server.send(device.request())
    assert records(server) == [("unauthenticated", {"device": name(server, device), "reason": "revoked device"})]


def test_why_a_success_is_unauthenticated(server: Server, device: Device) -> None:
    server.send(encode(Success(bytes(7), 0, bytes(16))))
    assert records(server) == unauthenticated("unknown transaction")
    success, _, _ = device.offered()
    records(server)
    server.revoke(device)
    server.send(success)
    said = {"device": name(server, device), "reason": "not committed: revoked"}
    assert records(server) == [("unauthenticated", said)]
    other = Device(server, "35209900299999")
    success, _, _ = other.offered()
    server.send(success)
    server.now += LIFE
    server.wall += 86_400
    records(server)
    server.send(success)
    assert records(server) == unauthenticated("expired session")


def test_a_malformed_message(server: Server, device: Device) -> None:
    server.send(b"\x80")
    assert records(server) == [("malformed", {"fault": "not a map", "place": "offset 0"})]
    server.send(bytes.fromhex("a3000404001750") + bytes(16))
    said = {"fault": "a server takes REQUEST and SUCCESS only", "place": "key 0, offset 2"}
    assert records(server) == [("malformed", said)]
    message = Request(device.handle, Version(1, 0), urandom(16) + bytes(16), x25519_key=bytes(32))
    server.send(schedule.RequestStep.of(device.key, REALM).sign(encode(message)))
    assert records(server) == [("malformed", {"fault": "X25519 key is of low order", "place": "key 6, offset 0"})]


def test_what_anybody_can_cause_is_marked(server: Server, device: Device) -> None:
    """Without a key, or with overheard bytes."""
    lost, _, _ = device.offered()
    server.store.broken = True
    server.send(lost)
    server.store.broken = False
    server.now += STORE_PAUSE
    success, _, _ = device.offered()
    request = device.request()
    damaged = request[:-1] + bytes([request[-1] ^ 1])
    for payload in (b"", damaged, success, success, device.offered(status=Status.DECLINED)[0]):
        server.send(payload)
    assert {(record.event, record.unproved) for record in server.take_records()} == {
        ("malformed", True),
        ("unauthenticated", True),
        ("confirm-repeated", True),
        ("store-failed", True),
        ("response", False),
        ("established", False),
        ("declined", False),
    }
