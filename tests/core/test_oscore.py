"""The OSCORE context of a session: our vectors, those of RFC 8613 Appendix C, and options that name no context.

Of Appendix C, C.3 and C.6 have an ID Context, which a DPE session never has. C.8 is a response with a Partial IV of its
own, which a DPE server never sends; its nonce is derived by the same rule. The others have IDs of 0 or 1 byte, and the
derivation takes these like the 7 bytes of a Client ID.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpe_coap import oscore
from dpe_coap.binding import Code
from dpe_coap.errors import RemoteError
from tests.assurance.timing.work import count

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "session-vectors.json").read_text(encoding="utf-8")
)
CLIENT_ID = bytes.fromhex("58462deb908078")

MASTER_SECRET = bytes(range(1, 17))
MASTER_SALT = bytes.fromhex("9e7ca92223786340")
GET_TV1 = bytes.fromhex("01b3747631")
"""The plaintext of C.4 and C.5: GET /tv1."""


def name(vector: dict[str, Any]) -> str:
    return f"{vector['name']}, {vector['case']}"


def test_all_vectors_are_here() -> None:
    assert len(VECTORS) == 126


@pytest.mark.parametrize("vector", VECTORS, ids=name)
def test_context_request_and_response(vector: dict[str, Any]) -> None:
    """Both messages are those of the vector, byte for byte, and open again."""
    v = {key: bytes.fromhex(value) for key, value in vector.items() if key not in ("name", "case", "sequence_number")}
    number = vector["sequence_number"]
    keys = oscore.derive(v["master_secret"], v["master_salt"], v["client_id"])
    assert keys == (v["client_key"], v["server_key"], v["common_iv"])
    nonce = oscore.nonce(keys.common_iv, v["client_id"], number)
    additional = oscore.additional_data(v["client_id"], number)
    assert (nonce, additional) == (v["nonce"], v["aad"])
    option = oscore.option(v["client_id"], number)
    assert oscore.read_option(option) == (v["client_id"], number)
    for key, message, plaintext in (
        (keys.client, v["request"], v["request_plaintext"]),
        (keys.server, v["response"], v["response_plaintext"]),
    ):
        size = len(plaintext) + oscore.SIZE_TAG
        head, ciphertext = message[:-size], message[-size:]
        assert head.endswith(b"\xff")
        if message is v["request"]:
            assert head.endswith(option + b"\xff")
        assert oscore.encrypt(key, nonce, additional, plaintext) == ciphertext
        assert oscore.decrypt(key, nonce, additional, ciphertext) == plaintext


@pytest.mark.parametrize(
    ("salt", "client_id", "server_id", "client_key", "server_key", "common_iv"),
    [
        (
            MASTER_SALT,
            b"",
            b"\x01",
            "f0910ed7295e6ad4b54fc793154302ff",
            "ffb14e093c94c9cac9471648b4f98710",
            "4622d4dd6d944168eefb54987c",
        ),
        (
            b"",
            b"\x00",
            b"\x01",
            "321b26943253c7ffb6003b0b64d74041",
            "e57b5635815177cd679ab4bcec9d7dda",
            "be35ae297d2dace910c52e99f9",
        ),
    ],
    ids=["C.1", "C.2"],
)
def test_key_derivation_of_appendix_c(
    salt: bytes, client_id: bytes, server_id: bytes, client_key: str, server_key: str, common_iv: str
) -> None:
    keys = oscore.derive(MASTER_SECRET, salt, client_id, server_id)
    assert [part.hex() for part in keys] == [client_key, server_key, common_iv]


@pytest.mark.parametrize(
    ("salt", "sender_id", "option", "ciphertext"),
    [
        (MASTER_SALT, b"", "0914", "612f1092f1776f1c1668b3825e"),
        (b"", b"\x00", "091400", "4ed339a5a379b0b8bc731fffb0"),
    ],
    ids=["C.4", "C.5"],
)
def test_requests_of_appendix_c(salt: bytes, sender_id: bytes, option: str, ciphertext: str) -> None:
    """Sequence number 20."""
    keys = oscore.derive(MASTER_SECRET, salt, sender_id, b"\x01")
    nonce, additional = oscore.nonce(keys.common_iv, sender_id, 20), oscore.additional_data(sender_id, 20)
    assert oscore.option(sender_id, 20).hex() == option
    assert oscore.encrypt(keys.client, nonce, additional, GET_TV1).hex() == ciphertext


def test_responses_of_appendix_c() -> None:
    """C.7 is under the nonce of its request. C.8 is under one of its own: the server's ID and number 0."""
    keys = oscore.derive(MASTER_SECRET, MASTER_SALT, b"", b"\x01")
    plaintext = b"\x45\xff" + b"Hello World!"
    additional = oscore.additional_data(b"", 20)
    of_request = oscore.nonce(keys.common_iv, b"", 20)
    of_response = oscore.nonce(keys.common_iv, b"\x01", 0)
    c7 = "dbaad1e9a7e7b2a813d3c31524378303cdafae119106"
    c8 = "4d4c13669384b67354b2b6175ff4b8658c666a6cf88e"
    assert oscore.encrypt(keys.server, of_request, additional, plaintext).hex() == c7
    assert oscore.encrypt(keys.server, of_response, additional, plaintext).hex() == c8


@pytest.mark.parametrize(
    ("number", "size"), [(0, 1), (255, 1), (256, 2), (65_535, 2), (65_536, 3), (1 << 24, 4), (oscore.MAX_NUMBER, 5)]
)
def test_a_number_takes_as_few_bytes_as_it_can(number: int, size: int) -> None:
    option = oscore.option(CLIENT_ID, number)
    assert len(option) == 1 + size + 7
    assert oscore.read_option(option) == (CLIENT_ID, number)


@pytest.mark.parametrize(
    ("option", "code"),
    [
        (b"", Code.BAD_OPTION),
        (b"\x08" + CLIENT_ID, Code.BAD_OPTION),  # no Partial IV
        (b"\x01\x01" + CLIENT_ID, Code.BAD_OPTION),  # no kid
        (b"\x0e" + bytes(6) + CLIENT_ID, Code.BAD_OPTION),  # 6 and 7 bytes are reserved
        (b"\x0f" + bytes(7) + CLIENT_ID, Code.BAD_OPTION),
        (b"\x0a\x00\x01" + CLIENT_ID, Code.BAD_OPTION),  # a leading zero
        (b"\x29\x01" + CLIENT_ID, Code.BAD_OPTION),
        (b"\x49\x01" + CLIENT_ID, Code.BAD_OPTION),
        (b"\x89\x01" + CLIENT_ID, Code.BAD_OPTION),
        (b"\x0d\x01\x02", Code.BAD_OPTION),  # cut off within the Partial IV
        (b"\x0a\x01", Code.BAD_OPTION),
        (b"\x09", Code.BAD_OPTION),
        (b"\x19\x01\x01\x00" + CLIENT_ID, Code.UNAUTHORIZED),  # kid context
        (b"\x19\x01" + CLIENT_ID, Code.UNAUTHORIZED),
        (b"\x09\x01" + CLIENT_ID[:-1], Code.UNAUTHORIZED),
        (b"\x09\x01" + CLIENT_ID + b"\x00", Code.UNAUTHORIZED),
        (b"\x09\x01", Code.UNAUTHORIZED),  # the empty kid
    ],
)
def test_options_that_are_refused(option: bytes, code: Code) -> None:
    with pytest.raises(RemoteError) as caught:
        oscore.read_option(option)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        (b"", "the OSCORE option of a request has 1 to 5 bytes of Partial IV and a kid (RFC 8613 section 6.1)"),
        (b"\x0a\x00\x01" + CLIENT_ID, "the Partial IV begins with a zero"),
        (b"\x19\x01\x00" + CLIENT_ID, "kid context present"),
        (b"\x09\x01", "the kid is no Client ID, which has 7 bytes"),
    ],
)
def test_an_option_that_is_refused_is_explained(option: bytes, fault: str) -> None:
    with pytest.raises(RemoteError) as caught:
        oscore.read_option(option)
    assert str(caught.value) == fault


def test_a_number_has_40_bits() -> None:
    assert oscore.MAX_NUMBER == 0xFF_FFFF_FFFF
    assert oscore.read_option(oscore.option(CLIENT_ID, oscore.MAX_NUMBER)) == (CLIENT_ID, oscore.MAX_NUMBER)


@given(st.binary(max_size=20))
def test_any_option_gives_a_context_that_would_be_written_so_or_one_error(option: bytes) -> None:
    try:
        client_id, number = oscore.read_option(option)
    except (oscore.BadOption, oscore.UnknownContext):
        return
    assert oscore.option(client_id, number) == option


def test_what_was_not_encrypted_so_does_not_open() -> None:
    keys = oscore.derive(MASTER_SECRET, MASTER_SALT, CLIENT_ID)
    nonce, additional = oscore.nonce(keys.common_iv, CLIENT_ID, 1), oscore.additional_data(CLIENT_ID, 1)
    sealed = oscore.encrypt(keys.client, nonce, additional, GET_TV1)
    assert len(sealed) == len(GET_TV1) + oscore.SIZE_TAG
    assert oscore.decrypt(keys.client, nonce, additional, sealed) == GET_TV1
    assert oscore.decrypt(keys.server, nonce, additional, sealed) is None
    assert oscore.decrypt(keys.client, oscore.nonce(keys.common_iv, CLIENT_ID, 2), additional, sealed) is None
    assert oscore.decrypt(keys.client, nonce, oscore.additional_data(CLIENT_ID, 2), sealed) is None
    assert oscore.decrypt(keys.client, nonce, additional, sealed[:-1] + bytes([sealed[-1] ^ 1])) is None
    assert oscore.decrypt(keys.client, nonce, additional, b"short") is None


def test_no_key_is_shown() -> None:
    assert repr(oscore.derive(MASTER_SECRET, MASTER_SALT, CLIENT_ID)) == "Keys(...)"


def test_failing_is_one_decryption_that_fails() -> None:
    """It is there for its time only."""
    assert oscore.fail(bytes(oscore.SIZE_NONCE)) is None  # type: ignore[func-returns-value]
    assert count(lambda: oscore.fail(bytes(oscore.SIZE_NONCE)))["AESCCM.decrypt"] == 1
