"""The vectors of DPE-1, from the client's side."""

import json
from binascii import unhexlify
from hashlib import sha256

from dpe_device import messages, x25519

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

with open(__file__.rsplit("/", 2)[0] + "/vectors/dpe1-vectors.json") as file:  # noqa: PTH123  # MicroPython has no pathlib
    VECTORS = json.load(file)


def of(vector: "dict[str, Any]", key: str) -> bytes:
    return unhexlify(vector[key])


def opened(vector: "dict[str, Any]") -> "tuple[dict[int, Any], bytes, bytes]":
    private = of(vector, "eph_c_private") if vector["suite"] == 2 else b""
    return messages.open_response(of(vector, "k_dev"), of(vector, "request"), of(vector, "response"), x25519, private)


def valid() -> "list[dict[str, Any]]":
    found: list[dict[str, Any]] = VECTORS["valid"]
    assert len(found) == 20
    return found


def test_requests_are_made_byte_for_byte() -> None:
    for vector in valid():
        identity = of(vector, "imei") if "clear IMEI" in vector["name"] else of(vector, "handle")
        public = None
        if vector["suite"] == 2:
            public = x25519.public(of(vector, "eph_c_private"))
            assert public == of(vector, "eph_c")
        request = messages.make_request(
            of(vector, "k_dev"),
            vector["realm"],
            identity,
            tuple(vector["version"]),
            of(vector, "nonce_c"),
            public,
            vector.get("firmware"),
        )
        assert request == of(vector, "request")


def test_responses_are_verified_and_opened() -> None:
    accepted = 0
    for vector in valid():
        fields, prk3, th2 = opened(vector)
        assert fields[4] == vector["response_status"]
        assert fields[2] == tuple(vector["selected_version"])
        if fields[4] == 0:
            accepted += 1
            assert fields[3] == of(vector, "client_id")
            assert fields[5] == of(vector, "next_handle")
            assert prk3 == of(vector, "prk3")
            assert th2 == of(vector, "th2")
    assert accepted == 14


def test_successes_are_made_and_confirms_verified() -> None:
    for vector in valid():
        if vector["response_status"] != 0:
            continue
        fields, prk3, th2 = opened(vector)
        success = messages.make_success(prk3, fields[3], vector["success_status"])
        assert success == of(vector, "success")
        th3 = sha256(th2 + success).digest()
        assert th3 == of(vector, "th3")
        confirm = messages.open_confirm(prk3, th3, of(vector, "confirm"))
        assert confirm[4] == vector["confirm_status"]
        assert confirm.get(9) == vector["lifetime"]
        if vector["success_status"] == 0 and vector["confirm_status"] == 0:
            exported = of(vector, "oscore_master_secret"), of(vector, "oscore_master_salt")
            assert messages.export(prk3, th3) == exported


def test_no_bit_of_a_message_can_change() -> None:
    vector = valid()[0]
    _, prk3, _ = opened(vector)
    th3 = of(vector, "th3")
    for key in ("request", "response", "confirm"):
        good = of(vector, key)
        for at in range(len(good)):
            changed = dict(vector)
            bad = good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :]
            try:
                if key == "confirm":
                    messages.open_confirm(prk3, th3, bad)
                else:
                    messages.open_response(
                        of(changed, "k_dev"),
                        bad if key == "request" else of(changed, "request"),
                        bad if key == "response" else of(changed, "response"),
                        x25519,
                        b"",
                    )
            except ValueError:
                continue
            raise AssertionError(f"accepted with a changed octet {at} of {key}")


def test_malformed_messages_are_refused() -> None:
    malformed = VECTORS["malformed_requests"]
    assert len(malformed) == 22
    for vector in malformed:
        for kind in (2, 4):
            try:
                messages.decode(unhexlify(vector["message"]), kind)
            except ValueError:
                continue
            raise AssertionError("accepted: " + vector["name"])


def test_fields_out_of_range_are_refused() -> None:
    for version, firmware in (((256, 0), None), ((0, 256), None), ((1, 0), "x" * 33), ((1, 0), "\u00e9" * 17)):
        try:
            messages.make_request(bytes(32), "lab", bytes(17), version, bytes(16), b"", firmware)
        except ValueError:
            continue
        raise AssertionError(f"accepted: {version} {firmware!r}")
