"""What the registrar refuses: by policy under a security token, and everything unproved with one answer."""

from hashlib import sha256
from os import urandom

import cbor2
import pytest

from dpe_coap import keys as schedule
from dpe_coap.binding import CONTENT_FORMAT_PROBLEM, Code
from dpe_coap.messages import Confirm, Request, Response, Success, Version, decode, encode
from dpe_coap.numbers import Status
from dpe_server import policy
from dpe_server.handling.reply import UNAUTHORIZED, Reply
from dpe_server.keys.at_rest import AtRest
from dpe_server.registration.authentication import Authenticator
from tests.server.registration.double import POLICY, REALM, WALL, Device, Server, confirmation


@pytest.mark.parametrize(
    ("version", "code", "status", "selected"),
    [
        ("4.0", Code.FORBIDDEN, Status.REDIRECT, "4.0"),
        ("5.0", Code.FORBIDDEN, Status.REFUSED, "5.0"),
        ("9.9", Code.PRECONDITION_FAILED, Status.VERSION_NOT_SUPPORTED, "2.5"),
    ],
)
@pytest.mark.parametrize("private", [None, b"\x17" * 32], ids=["plain", "x25519"])
def test_authenticated_refusals(
    server: Server, device: Device, private: bytes | None, version: str, code: Code, status: Status, selected: str
) -> None:
    request = device.request(version, private=private)
    reply = server.send(request)
    response, _ = device.receive(request, reply, private)
    assert (reply.code, response.status, str(response.version)) == (code, status, selected)
    assert response.server_uri == ("coap://other.example:5683" if status == Status.REDIRECT else None)
    assert not server.rows()
    assert reply.max_age is None
    assert server.send(request) == reply, "the same bytes get the same answer"


def test_a_rule_may_require_the_x25519_suite(server: Server, device: Device) -> None:
    request = device.request("2.0")
    reply = server.send(request)
    response, _ = device.receive(request, reply)
    assert (reply.code, response.status, str(response.version)) == (Code.FORBIDDEN, Status.SUITE_TOO_WEAK, "2.0")


def test_decline(server: Server, device: Device) -> None:
    for status in (Status.DECLINED, Status.VERSION_UNACCEPTABLE, Status.STORAGE_FAILURE, Status.ABORTED, 99):
        success, last, _ = device.offered(status=status)
        answer = server.send(success)
        assert confirmation(answer, last).status == Status.RELEASED
        assert server.send(success) == answer
    assert not server.rows()
    assert server.events().count("declined") == 5


def test_a_decline_releases_the_client_id(server: Server) -> None:
    """Two Client IDs, three devices: the third gets one when another has declined."""
    first, second, third = (Device(server, f"3520990017614{n}") for n in range(3))
    success, last, _ = first.offered("3.0", Status.DECLINED)
    second.offered("3.0")
    request = third.request("3.0")
    reply = server.send(request)
    assert reply.code == Code.SERVICE_UNAVAILABLE
    assert confirmation(server.send(success), last).status == Status.RELEASED
    third.register("3.0")


def test_a_decline_leaves_the_older_session(server: Server, device: Device) -> None:
    client_id = device.register().client_id
    success, last, _ = device.offered(status=Status.DECLINED)
    assert confirmation(server.send(success), last).status == Status.RELEASED
    assert server.client_ids() == [client_id]


def wrong_realm(device: Device) -> bytes:
    return device.request(realm="another realm")


def wrong_key(device: Device) -> bytes:
    device.key = urandom(32)
    return device.request()


def foreign_handle(device: Device) -> bytes:
    device.handle = bytes([1]) + urandom(16)
    return device.request()


def unknown_handle_key(device: Device) -> bytes:
    device.handle = bytes([99]) + device.handle[1:]
    return device.request()


def unknown_epoch(device: Device) -> bytes:
    device.handle = device.server.keys.seal_handle(9, device.imei, 0, urandom)
    return device.request()


def imei_in_clear(device: Device) -> bytes:
    return device.request(clear=True)


def unknown_client_id(device: Device) -> bytes:
    return encode(Success(bytes(7), 0, bytes(16)))


def forged_success(device: Device) -> bytes:
    success, _, _ = device.offered()
    return success[:-1] + bytes([success[-1] ^ 1])


def revoked(device: Device) -> bytes:
    device.server.revoke(device)
    return device.request()


@pytest.mark.parametrize(
    "make",
    [
        wrong_realm,
        wrong_key,
        foreign_handle,
        unknown_handle_key,
        unknown_epoch,
        imei_in_clear,
        unknown_client_id,
        forged_success,
        revoked,
    ],
)
def test_everything_unproved_gets_one_answer(server: Server, device: Device, make: object) -> None:
    assert callable(make)
    payload = make(device)
    assert server.send(payload) == UNAUTHORIZED == Reply(Code.UNAUTHORIZED, b"", None, None)
    assert not server.rows()
    assert server.events()[-1] == "unauthenticated"


def test_made_up_keys_are_no_keys(server: Server, device: Device) -> None:
    """Not even who knew the keys that stand in for missing ones could do anything with them."""
    master, handle = server.registrar._authenticator._nobodys
    device.key = master.device_key(device.imei)
    for hkid in (0, 99):
        for epoch in (0, 1, 9):
            device.handle = bytes([hkid]) + handle.seal(epoch, device.imei, 0, urandom(4))[1:]
            assert server.send(device.request()) == UNAUTHORIZED
    device.handle = server.keys.seal_handle(9, device.imei, 0, urandom)
    assert server.send(device.request()) == UNAUTHORIZED
    assert set(server.events()) == {"unauthenticated"}


def test_a_made_up_transaction_is_none(server: Server) -> None:
    client_id = bytes(6) + b"\x07"
    (nobodys,) = server.registrar._transactions.of_client_id(7)
    for status in (Status.OK, Status.DECLINED):
        success = nobodys.success_step.sign(encode(Success(client_id, status, bytes(16))))
        assert nobodys.success_step.verify(success)
        assert server.send(success) == UNAUTHORIZED
    assert server.events() == ["unauthenticated"] * 2
    assert not server.rows()


def test_revoked_between_response_and_success(server: Server, device: Device) -> None:
    success, _, _ = device.offered()
    server.revoke(device)
    assert server.send(success) == UNAUTHORIZED
    assert server.send(success) == UNAUTHORIZED
    assert not server.rows()


def test_a_revoked_session_is_not_confirmed_again(server: Server, device: Device) -> None:
    success, last, _ = device.offered()
    assert confirmation(server.send(success), last).status == Status.OK
    server.revoke(device)
    assert not server.rows()
    assert server.send(success) == UNAUTHORIZED
    server.restart()
    assert server.send(success) == UNAUTHORIZED


@pytest.mark.parametrize("scope", ["device", "all"])
def test_minimum_epoch(server: Server, device: Device, scope: str) -> None:
    if scope == "device":
        server.set_minimum_epoch(2, device)
    else:
        server.set_minimum_epoch(2)
    request = device.request()
    reply = server.send(request)
    response, _ = device.receive(request, reply)
    assert (reply.code, response.status) == (Code.FORBIDDEN, Status.REPROVISION)
    Device(server, epoch=2).register()


def test_imei_in_clear_where_the_policy_allows_it(server: Server, device: Device) -> None:
    server.registrar.reload(keys=server.keys, policy=policy.parse("allow_clear_imei = true\n" + POLICY))
    for epoch in (1, 2):
        device = Device(server, epoch=epoch)
        request = device.request(clear=True)
        response, _ = device.receive(request, server.send(request))
        assert response.status == Status.OK
    not_decimal = Request(bytes.fromhex("4901542032375a"), Version(1, 0), bytes(32))
    assert server.send(encode(not_decimal)) == UNAUTHORIZED


def test_handles_of_every_generation(server: Server, device: Device) -> None:
    old = device.request()
    device.handle = schedule.HandleKey(1, server.keys.handle[1]).seal(1, device.imei, 0, urandom(4))
    assert server.send(device.request()).code == server.send(old).code == Code.CHANGED


@pytest.mark.parametrize(
    ("payload", "title"),
    [
        (b"", "no item: the message is empty"),
        (b"\x80", "not a map"),
        (encode(Confirm(0, bytes(16))), "a server takes REQUEST and SUCCESS only"),
        (
            encode(Response(version=Version(1, 0), status=2, security_token=bytes(32))),
            "a server takes REQUEST and SUCCESS only",
        ),
    ],
)
def test_malformed(server: Server, payload: bytes, title: str) -> None:
    reply = server.send(payload)
    assert (reply.code, reply.content_format) == (Code.BAD_REQUEST, CONTENT_FORMAT_PROBLEM)
    details = cbor2.loads(reply.payload)
    assert details[-1] == title
    assert "offset" in details[-2]


def test_low_order_x25519_key(server: Server, device: Device) -> None:
    message = Request(device.handle, Version(1, 0), urandom(16) + bytes(16), x25519_key=bytes(32))
    reply = server.send(schedule.RequestStep.of(device.key, REALM).sign(encode(message)))
    assert reply.code == Code.BAD_REQUEST
    assert "low order" in cbor2.loads(reply.payload)[-1]


def test_the_audit_log_has_no_personal_data(server: Server, device: Device) -> None:
    device.register()
    server.send(wrong_key(Device(server)))
    server.send(b"\x80")
    records = server.take_records()
    assert [record.event for record in records] == ["response", "established", "unauthenticated", "malformed"]
    assert [record.unproved for record in records] == [False, False, True, True]
    text = repr(records)
    for secret in (device.imei.digits, device.imei.digits[8:], device.key.hex(), device.handle.hex()):
        assert secret not in text


def test_no_secret_in_the_repr_of_a_proof(server: Server, device: Device) -> None:
    request = device.request()
    message = decode(request)
    assert isinstance(message, Request)
    prover = Authenticator(REALM, server.keys, AtRest(server.keys.at_rest, urandom), urandom, allow_clear_imei=False)
    proof = prover.prove(message, request, sha256(request).digest())
    assert (proof.epoch, proof.imei, proof.device) == (1, device.imei, server.device_id(device.imei))
    claimed = f"epoch=1, imei=Imei(redacted), issued={int(WALL)}, refusal={proof.refusal!r}"
    shown = f"request={message!r}, step=RequestStep(), {claimed}"
    assert repr(proof) == f"Sender(proved=True, {shown})"
    device.key = bytes(32)
    request = device.request()
    message = decode(request)
    assert isinstance(message, Request)
    unproved = prover.prove(message, request, sha256(request).digest())
    assert (unproved.proved, unproved.device) == (False, bytes(16)), "nobody's: what is laid on the device is not met"
