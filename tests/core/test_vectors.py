"""Every vector of an independent implementation, through the key schedule and the messages of dpe_coap."""

import json
from pathlib import Path
from typing import Any

import pytest

from dpe_coap import keys
from dpe_coap.errors import MalformedMessage
from dpe_coap.imei import Imei
from dpe_coap.messages import Confirm, Request, Response, Success, Version, decode, encode
from dpe_coap.numbers import Status

Vector = dict[str, Any]

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "dpe1-vectors.json").read_text(encoding="utf-8"))
VALID: list[Vector] = VECTORS["valid"]
COMPLETE = [vector for vector in VALID if "success" in vector]


def name(vector: Vector) -> str:
    return str(vector["name"])


def unhex(vector: Vector, key: str) -> bytes:
    return bytes.fromhex(vector[key])


def request_step(vector: Vector) -> keys.RequestStep:
    master = keys.MasterKey(vector["epoch"], unhex(vector, "k_master"))
    return keys.RequestStep.of(master.device_key(Imei(unhex(vector, "imei"))), vector["realm"])


def response_step(vector: Vector) -> keys.ResponseStep:
    dh = b""
    if vector["suite"] == 2:
        dh = unhex(vector, "eph_s") + keys.agree(unhex(vector, "eph_s_private"), unhex(vector, "eph_c"))
    return request_step(vector).respond(unhex(vector, "request"), unhex(vector, "nonce_s"), dh)


def optional(vector: Vector, key: str) -> bytes | None:
    return unhex(vector, key) if key in vector else None


def test_all_vectors_are_here() -> None:
    assert (len(VALID), len(COMPLETE), len(VECTORS["malformed_requests"])) == (20, 14, 22)


@pytest.mark.parametrize("vector", VALID, ids=name)
def test_device_key_and_handles(vector: Vector) -> None:
    imei = Imei(unhex(vector, "imei"))
    assert keys.MasterKey(vector["epoch"], unhex(vector, "k_master")).device_key(imei) == unhex(vector, "k_dev")
    handle_key = keys.HandleKey(vector["hkid"], unhex(vector, "k_handle"))
    for handle, random in (("handle", "handle_random"), ("next_handle", "next_handle_random")):
        issued, rest = int.from_bytes(unhex(vector, random)[:4], "big"), unhex(vector, random)[4:]
        sealed = handle_key.seal(vector["epoch"], imei, issued, rest)
        assert sealed == unhex(vector, handle)
        assert handle_key.open(sealed) == (vector["epoch"], imei, issued, True)


@pytest.mark.parametrize("vector", VALID, ids=name)
def test_request(vector: Vector) -> None:
    identity = unhex(vector, "handle")
    if name(vector) == "clear IMEI (lab)":
        identity = unhex(vector, "imei")
    message = Request(
        identity,
        Version(*vector["version"]),
        unhex(vector, "nonce_c") + bytes(16),
        x25519_key=optional(vector, "eph_c"),
        firmware=vector.get("firmware"),
    )
    step = request_step(vector)
    assert step.mac_key == unhex(vector, "k1")
    payload = unhex(vector, "request")
    assert step.sign(encode(message)) == payload
    assert step.verify(payload)
    assert encode(decode(payload)) == payload


@pytest.mark.parametrize("vector", VALID, ids=name)
def test_response(vector: Vector) -> None:
    step = response_step(vector)
    assert (step.th1, step.prk2, step.mac_key) == (unhex(vector, "th1"), unhex(vector, "prk2"), unhex(vector, "k2"))
    payload = unhex(vector, "response")
    assert step.verify(payload)
    message = decode(payload)
    assert isinstance(message, Response)
    assert message.status == vector["response_status"]
    assert list(message.version) == vector["selected_version"]
    assert message.x25519_key == optional(vector, "eph_s")
    assert step.sign(encode(message)) == payload
    assert step.next(payload).th2 == unhex(vector, "th2")
    if message.status == Status.OK:
        assert message.client_id == unhex(vector, "client_id")
        assert message.sealed_handle is not None
        assert step.mask(message.sealed_handle) == unhex(vector, "next_handle")
        assert step.mask(unhex(vector, "next_handle")) == message.sealed_handle


@pytest.mark.parametrize("vector", COMPLETE, ids=name)
def test_success_confirm_and_exporter(vector: Vector) -> None:
    step = response_step(vector).next(unhex(vector, "response"))
    assert (step.prk3, step.mac_key) == (unhex(vector, "prk3"), unhex(vector, "k3"))
    success = unhex(vector, "success")
    message = Success(unhex(vector, "client_id"), vector["success_status"], bytes(16))
    assert step.sign(encode(message)) == success
    assert step.verify(success)
    last = step.next(success)
    assert (last.th3, last.mac_key) == (unhex(vector, "th3"), unhex(vector, "k4"))
    confirm = Confirm(vector["confirm_status"], bytes(16), vector["lifetime"])
    assert last.sign(encode(confirm)) == unhex(vector, "confirm")
    assert last.verify(unhex(vector, "confirm"))
    assert last.export() == (unhex(vector, "oscore_master_secret"), unhex(vector, "oscore_master_salt"))


# the vectors' words for a fault, where ours are longer or more exact
SAID = {
    "token length": "security token length",
    "token missing": "security token missing",
    "key": "a key is not",
    "UTF-8": "text is not UTF-8",
    "type": "message type is of a wrong type",
    "bytes after the map": "bytes after the map",
}


@pytest.mark.parametrize("vector", VECTORS["malformed_requests"], ids=name)
def test_malformed(vector: Vector) -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode(unhex(vector, "message"))
    expected: str = SAID.get(vector["fault"]) or vector["fault"]
    assert caught.value.fault.startswith(expected)
    assert 0 <= caught.value.offset <= len(unhex(vector, "message"))


@pytest.mark.parametrize("vector", COMPLETE, ids=name)
def test_a_changed_bit_is_noticed(vector: Vector) -> None:
    for message, step in (
        ("request", request_step(vector)),
        ("response", response_step(vector)),
        ("success", response_step(vector).next(unhex(vector, "response"))),
        ("confirm", response_step(vector).next(unhex(vector, "response")).next(unhex(vector, "success"))),
    ):
        payload = unhex(vector, message)
        for position in range(len(payload)):
            changed = bytearray(payload)
            changed[position] ^= 1 << position % 8
            assert not step.verify(bytes(changed)), (message, position)
