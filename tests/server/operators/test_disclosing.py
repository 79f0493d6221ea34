"""Why somebody sees an IMEI, in the audit log."""

import json
from pathlib import Path

import pytest

from dpe_coap.errors import LocalError
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators.disclosing import note_shown

DEVICE = bytes(16)


@pytest.fixture
def opened(tmp_path: Path) -> StateDir:
    """A state directory."""
    return StateDir.create(tmp_path / "state", "test", "coap://127.0.0.1")


@pytest.mark.parametrize("reason", ["490154203237518", "it is 49 015420-3237/51, says the shop"])
def test_a_reason_with_an_imei_is_not_kept(opened: StateDir, reason: str) -> None:
    with pytest.raises(LocalError, match="the reason has an IMEI in it"):
        note_shown(opened, DEVICE, reason, "page-1")
    assert not opened.audit_path.exists()


def test_a_reason_may_have_other_numbers(opened: StateDir) -> None:
    note_shown(opened, DEVICE, "  ticket 4711 of 2026-11-30 ", "page-1")
    line = json.loads(opened.audit_path.read_text())
    assert (line["event"], line["reason"], line["by"]) == ("imei-shown", "ticket 4711 of 2026-11-30", "page-1")


@pytest.mark.parametrize("reason", ["", "   ", "x" * 201, "two\nlines"])
def test_no_reason(opened: StateDir, reason: str) -> None:
    with pytest.raises(LocalError, match="a reason is needed"):
        note_shown(opened, DEVICE, reason, "page-1")
