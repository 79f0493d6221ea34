"""Every row of the table of codes (docs/protocol.md, "CoAP binding"), over UDP from a whole server."""

import os
from contextlib import closing
from typing import Any

import cbor2
import pytest

from dpe_coap.messages import Request as RequestMessage
from dpe_coap.messages import Version, encode
from dpe_coap.numbers import Status
from dpe_server.keys.ring import KeyRing
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Change, Revoke, SetMinimumEpoch
from dpe_server.store.opening import open_store
from tests import coap
from tests.audit import first_lines
from tests.coap import CON, DISCOVERY, GET, NON, POST, REGISTER, RST, Client, Message
from tests.end_to_end.devices import Device, Offered
from tests.end_to_end.running import POLICY, Running


def commit(state: StateDir, change: Change) -> None:
    with closing(open_store(state.store_url)) as store:
        store.commit([change])


def register(client: Client, device: Device, **options: Any) -> tuple[Message, Offered, bytes]:
    """Send a REQUEST; return the CoAP response, the verified RESPONSE and the REQUEST."""
    request = device.request(**options)
    response = client.post(request)
    return response, device.read(request, response.payload), request


class TestAuthenticatedAnswers:
    """The payload is a DPE message under the server's token, which ``Device.read`` and ``Offered.confirm`` verify."""

    @pytest.mark.parametrize("kind", [CON, NON])
    @pytest.mark.parametrize("x25519", [False, True])
    def test_ok_is_2_04(self, state: StateDir, client: Client, kind: int, x25519: bool) -> None:
        device = Device(state)
        request = device.request(x25519=x25519)
        response = client.post(request, type=kind)
        assert (response.dotted, response.uint(coap.CONTENT_FORMAT)) == ("2.04", 60)
        offer = device.read(request, response.payload)
        assert offer.response.status == Status.OK
        success = offer.success()
        response = client.post(success, type=kind)
        assert (response.dotted, response.uint(coap.CONTENT_FORMAT)) == ("2.04", 60)
        confirm, _ = offer.confirm(success, response.payload)
        assert (confirm.status, confirm.lifetime) == (Status.OK, 3600)

    def test_the_payloads_have_the_documented_sizes(self, state: StateDir, running: Running, client: Client) -> None:
        state.policy_path.write_text(POLICY.replace("lifetime = 3600", ""))
        running.loop.run(running.server.reload())
        running.logs.clear()
        response, offer, request = register(client, Device(state))
        success = offer.success()
        confirm = client.post(success)
        assert [len(p) for p in (request, response.payload, success, confirm.payload)] == [61, 72, 32, 23]

    def test_a_decline_is_2_04(self, state: StateDir, client: Client) -> None:
        _, offer, _ = register(client, Device(state))
        success = offer.success(Status.DECLINED)
        response = client.post(success)
        assert response.dotted == "2.04"
        assert offer.confirm(success, response.payload)[0].status == Status.RELEASED

    def test_version_not_supported_is_4_12(self, state: StateDir, client: Client) -> None:
        response, offer, _ = register(client, Device(state), version=Version(0, 9))
        assert (response.dotted, response.uint(coap.CONTENT_FORMAT)) == ("4.12", 60)
        assert offer.response.status == Status.VERSION_NOT_SUPPORTED
        assert offer.response.version == Version(1, 9)

    @pytest.mark.parametrize(("firmware", "status"), [("banned-1", Status.REFUSED), ("weak-1", Status.SUITE_TOO_WEAK)])
    def test_refused_and_suite_too_weak_are_4_03(
        self, state: StateDir, client: Client, firmware: str, status: Status
    ) -> None:
        response, offer, _ = register(client, Device(state), firmware=firmware)
        assert (response.dotted, response.uint(coap.CONTENT_FORMAT)) == ("4.03", 60)
        assert offer.response.status == status

    def test_reprovision_is_4_03(self, state: StateDir, client: Client) -> None:
        commit(state, SetMinimumEpoch(2))
        response, offer, _ = register(client, Device(state))
        assert response.dotted == "4.03"
        assert offer.response.status == Status.REPROVISION

    def test_redirect_is_4_03_with_the_other_server(self, state: StateDir, client: Client) -> None:
        response, offer, _ = register(client, Device(state), firmware="moved-1")
        assert response.dotted == "4.03"
        assert (offer.response.status, offer.response.server_uri) == (Status.REDIRECT, "coap://other.example")

    def test_an_exhausted_range_is_5_03_with_max_age(self, state: StateDir, client: Client) -> None:
        _, offer, _ = register(client, Device(state), firmware="full-1")
        assert offer.response.status == Status.OK
        response, offer, _ = register(client, Device(state), firmware="full-1")
        assert (response.dotted, response.uint(coap.MAX_AGE)) == ("5.03", 60)
        assert (offer.response.status, offer.response.retry_after) == (Status.UNAVAILABLE, 60)


def unknown_handle(state: StateDir) -> bytes:
    return Device(state).request(identity=b"\x01" + os.urandom(16))


def unknown_handle_key(state: StateDir) -> bytes:
    return Device(state).request(identity=b"\x63" + os.urandom(16))


def unknown_device(state: StateDir) -> bytes:
    stranger = KeyRing({1: os.urandom(32)}, dict(state.keys.handle), os.urandom(32))
    return Device(state, keys=stranger).request()


def unknown_epoch(state: StateDir) -> bytes:
    later = KeyRing({9: os.urandom(32)}, dict(state.keys.handle), os.urandom(32))
    return Device(state, keys=later, epoch=9).request()


def revoked_device(state: StateDir) -> bytes:
    device = Device(state)
    commit(state, Revoke(state.at_rest.device_id(device.imei), at=0))
    return device.request()


def bad_request_token(state: StateDir) -> bytes:
    request = Device(state).request()
    return request[:-1] + bytes([request[-1] ^ 1])


def clear_imei(state: StateDir) -> bytes:
    device = Device(state)
    return device.step.sign(encode(RequestMessage(device.imei.packed, Version(1, 0), bytes(32))))


def unknown_transaction(state: StateDir) -> bytes:
    return bytes.fromhex("a400030347") + os.urandom(7) + bytes.fromhex("04001750") + os.urandom(16)


class TestUnauthenticated:
    """All that proves no key is refused alike: 4.01, and nothing that tells one case from another."""

    @pytest.mark.parametrize(
        "make",
        [
            unknown_handle,
            unknown_handle_key,
            unknown_device,
            unknown_epoch,
            revoked_device,
            bad_request_token,
            clear_imei,
            unknown_transaction,
        ],
    )
    def test_it_is_4_01_and_empty(self, state: StateDir, client: Client, make: Any) -> None:
        client.send(bytes(Message(CON, POST, 1, b"tt", REGISTER, make(state))))
        assert client.receive() == Message(coap.ACK, 0x81, 1, b"tt")

    def test_a_success_with_a_bad_token_is_4_01_and_does_no_harm(self, state: StateDir, client: Client) -> None:
        _, offer, _ = register(client, Device(state))
        success = offer.success()
        response = client.post(success[:-1] + bytes([success[-1] ^ 1]))
        assert (response.dotted, response.options, response.payload) == ("4.01", (), b"")
        assert client.post(success).dotted == "2.04"


class TestRefusals:
    """RFC 9290 problem details say what was wrong."""

    def check(self, response: Message, code: str) -> dict[int, str]:
        assert response.dotted == code
        assert response.uint(coap.CONTENT_FORMAT) == 257
        problem: dict[int, str] = cbor2.loads(response.payload)
        assert problem[-1]
        return problem

    def test_malformed_messages_are_4_00_and_name_the_place(self, client: Client, vectors: dict[str, Any]) -> None:
        malformed = vectors["malformed_requests"]
        assert len(malformed) == 22
        for vector in malformed:
            payload = bytes.fromhex(vector["message"])
            if len(payload) > 256:
                self.check(client.post(payload), "4.13")
            else:
                assert "offset " in self.check(client.post(payload), "4.00")[-2]

    @pytest.mark.parametrize("name", ["response", "confirm"])
    def test_a_message_for_a_client_is_4_00(self, state: StateDir, client: Client, name: str) -> None:
        response, offer, _ = register(client, Device(state))
        payload = response.payload if name == "response" else client.post(offer.success()).payload
        self.check(client.post(payload), "4.00")

    @pytest.mark.parametrize("code", [GET, 3, 4, 5, 6, 7, 31])
    def test_a_wrong_method_is_4_05(self, client: Client, code: int) -> None:
        self.check(client.request(code, REGISTER[:2]), "4.05")

    def test_a_wrong_content_format_is_4_15(self, client: Client) -> None:
        self.check(client.request(POST, [*REGISTER[:2], (12, b"\x32")], b"x"), "4.15")
        self.check(client.request(POST, REGISTER[:2], b"x"), "4.15")

    def test_a_wrong_accept_is_4_06(self, state: StateDir, client: Client) -> None:
        self.check(client.request(POST, [*REGISTER, (17, b"\x32")], Device(state).request()), "4.06")
        assert client.request(POST, [*REGISTER, (17, b"\x3c")], Device(state).request()).dotted == "2.04"

    @pytest.mark.parametrize("path", [REGISTER, DISCOVERY, [(11, b"elsewhere")]])
    def test_an_unknown_critical_option_is_4_02(self, client: Client, path: coap.Options) -> None:
        problem = self.check(client.request(POST, [*path, (65001, b"")], b"x"), "4.02")
        assert "65001" in problem[-2]

    def test_an_unknown_critical_option_in_a_non_confirmable_request_is_reset(self, client: Client) -> None:
        client.send(bytes(Message(NON, POST, 5, b"t", [*REGISTER, (13, b"")], b"x")))
        assert client.receive() == Message(RST, 0, 5)

    def test_a_payload_above_256_bytes_is_4_13(self, client: Client) -> None:
        for size in (257, 1_000, 60_000):
            response = client.request(POST, REGISTER, bytes(size))
            self.check(response, "4.13")
            assert response.uint(coap.SIZE1) == 256

    def test_a_block_wise_payload_above_256_bytes_is_4_13_at_its_first_block(self, client: Client) -> None:
        self.check(client.request(POST, [*REGISTER, (27, b"\x0c")], bytes(256)), "4.13")
        self.check(client.request(POST, [*REGISTER, (27, b"\x09"), (60, b"\x04\x00")], bytes(32)), "4.13")

    def test_a_request_for_a_proxy_is_5_05(self, client: Client) -> None:
        self.check(client.request(GET, [(35, b"coap://other.example/")]), "5.05")

    def test_another_path_is_4_04(self, client: Client) -> None:
        self.check(client.request(POST, [(11, b"dpe"), (11, b"other")]), "4.04")


def test_a_request_in_blocks_of_16_bytes_registers(state: StateDir, client: Client) -> None:
    device = Device(state)
    request = device.request(x25519=True, firmware="1.0")
    pieces = [request[at : at + 16] for at in range(0, len(request), 16)]
    for number, piece in enumerate(pieces):
        more = number < len(pieces) - 1
        block1 = (number << 4 | more << 3).to_bytes(1, "big").lstrip(b"\0")
        response = client.request(POST, [*REGISTER, (27, block1)], piece)
        assert response.dotted == ("2.31" if more else "2.04")
    assert device.read(request, response.payload).response.status == Status.OK


def test_discovery_lists_the_register_resource(client: Client) -> None:
    response = client.discover()
    assert (response.dotted, response.uint(coap.CONTENT_FORMAT)) == ("2.05", 40)
    assert response.payload == b'</dpe/register>;rt="dpe.register";if="dpe-1";ct=60'
    assert client.request(GET, [*DISCOVERY, (15, b"rt=core.rd")]).payload == b""


def test_the_audit_log_has_every_decision_and_no_personal_data(
    state: StateDir, running: Running, client: Client
) -> None:
    device = Device(state)
    _, offer, request = register(client, device)
    success = offer.success()
    confirm = client.post(success)
    client.post(bad_request_token(state))
    client.post(b"\xff")
    events = [line["event"] for line in first_lines(state.audit_path, 4)]
    text = state.audit_path.read_text()
    assert events == ["response", "established", "unauthenticated", "malformed"]
    digits = device.imei.digits
    secrets = [device.handle, device.imei.packed, request[-16:], success[-16:], confirm.payload[-16:]]
    assert digits not in text
    assert digits[8:] not in text
    assert not any(secret.hex() in text for secret in secrets)
