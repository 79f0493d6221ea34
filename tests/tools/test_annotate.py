"""The annotated dump covers every byte of every message, names its fields, and cannot be abused by a peer's text."""

import json
from pathlib import Path
from typing import Any

import pytest

from dpe_coap import messages
from dpe_coap.errors import MalformedMessage
from dpe_coap.messages import Request, Version
from dpe_tools import annotate, diagnostic

VECTORS = json.loads((Path(__file__).parent.parent / "vectors/dpe1-vectors.json").read_text(encoding="utf-8"))
MESSAGES = [(case["name"], case[kind]) for case in VECTORS["valid"] for kind in ("request", "response") if kind in case]
MESSAGES += [(c["name"], c[kind]) for c in VECTORS["valid"] for kind in ("success", "confirm") if kind in c]


@pytest.mark.parametrize("payload", [bytes.fromhex(text) for _, text in MESSAGES])
def test_rows_hold_every_byte_once_and_the_whole_notation(payload: bytes) -> None:
    rows = list(annotate.rows(payload))
    assert b"".join(row.data for row in rows) == payload
    position = 0
    for row in rows:
        assert row.offset == position
        position += len(row.data)
    notation = "".join(row.notation for row in rows).replace(" ", "")
    secret = b"".join(row.data for row in rows if row.secret).hex()
    expected = diagnostic.item(payload, 0)[0].replace(" ", "")
    assert notation == (expected.replace(secret, "x" * len(secret)) if secret else expected)


def _case(name: str) -> dict[str, Any]:
    return next(case for case in VECTORS["valid"] if case["name"] == name)


def test_names_of_the_source_document() -> None:
    case = _case("plain")
    named = {
        kind: [row.name for row in annotate.rows(bytes.fromhex(case[kind])) if row.name]
        for kind in ("request", "response", "success", "confirm")
    }
    assert named["request"] == ["message", "IMEI", "DPE Version", "Token"]
    assert named["response"] == ["message", "DPE Version", "Client_ID", "Status", "next handle", "Security Token"]
    assert named["success"] == ["message", "Client_ID", "Status", "Security Token"]
    assert named["confirm"] == ["message", "Status", "Security Token"]


def test_imei_in_clear_is_not_shown() -> None:
    imei = bytes.fromhex("49015420323751")
    payload = messages.encode(Request(imei, Version(1, 0), bytes(32)))
    shown = "".join(row.hex + row.notation + row.meaning for row in annotate.rows(payload))
    assert imei.hex() not in shown
    assert imei.hex(" ") not in shown
    assert "not shown" in shown


def test_text_of_a_peer_is_printable_ascii() -> None:
    payload = messages.encode(Request(bytes(17), Version(1, 0), bytes(32), firmware="\x1b[2J\x7f\x9b é"))
    shown = "".join(row.hex + row.notation + row.meaning for row in annotate.rows(payload))
    assert shown.isascii()
    assert shown.isprintable()


def test_unknown_keys_and_statuses_are_shown() -> None:
    payload = bytes.fromhex("a400040418c814a201f94100c24101f51750" + "00" * 16)
    rows = {row.notation: (row.name, row.meaning) for row in annotate.rows(payload)}
    assert rows["  4: 200,"] == ("Status", "unknown (200)")
    assert rows["  20: {1: 2.5, 2(h'01'): true},"] == ("key 20", "not of this message: ignored")


@pytest.mark.parametrize("case", VECTORS["malformed_requests"], ids=lambda case: case["name"])
def test_fault_is_marked_at_its_offset(case: dict[str, str]) -> None:
    payload = bytes.fromhex(case["message"])
    with pytest.raises(MalformedMessage) as caught:
        messages.decode(payload)
    lines = list(annotate.fault_dump(payload, caught.value))
    at = next(number for number, line in enumerate(lines) if "^^" in line)
    column = lines[at].index("^^")
    offset = int(lines[at - 1][:5]) + (column - 7) // 3
    assert offset == caught.value.offset
    assert lines[at][column + 3 :] == caught.value.fault
    assert len(lines) < 8
