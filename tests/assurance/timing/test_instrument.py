"""The instrument runs and shows every class. What it finds in so short a time means nothing, and is not looked at."""

import pytest

from tests.assurance.timing import main
from tests.assurance.timing.planting import DELAYS, LEAST, SlowRegistrar, version
from tests.assurance.timing.telling_apart import BLOCK

CLASSES = {
    "REQUEST": {
        "wrong key",
        "another realm",
        "unknown device",
        "unknown handle key",
        "unknown key epoch",
        "IMEI in clear",
        "revoked device",
    },
    "SUCCESS": {
        "unknown Client ID",
        "wrong token, Client ID offered",
        "wrong token, session established",
        "wrong token, session of an earlier process",
        "wrong token, offer declined",
        "expired session",
    },
    "session": {
        "unknown Client ID",
        "Client ID above that of any session",
        "wrong keys, session in use",
        "wrong keys, session never heard of",
        "number not above the mark",
        "session over",
        "ended session",
        "revoked device",
    },
    "planted": {"planted 0 µs", "planted 0.5 µs", "planted 1 µs", "planted 2 µs", "planted 5 µs", "planted 20 µs"},
}


@pytest.mark.parametrize("where", ["process", "loopback"])
def test_it_measures_every_class(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rounds", str(2 * BLOCK), "--where", where, "--no-wait"]) in (0, 1)
    tables = capsys.readouterr().out.split("\n\n")
    for kind, classes in CLASSES.items():
        (table,) = (table for table in tables if f", {kind}: " in table)
        heading, _, *rows = table.strip().splitlines()
        assert f"{2 * BLOCK} observations of each class" in heading
        assert {row[:44].strip() for row in rows if row[44:45] == " "} >= classes


def test_a_delay_is_planted_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by 100 ns when it is looked at."""
    monkeypatch.setattr("dpe_server.registration.registrar.Registrar.read", lambda *_: None)
    now = 0

    def clock() -> int:
        nonlocal now
        now += 100
        return now

    monkeypatch.setattr("tests.assurance.timing.planting.perf_counter_ns", clock)
    registrar = SlowRegistrar.__new__(SlowRegistrar)
    for number, delay in enumerate(DELAYS):
        request = bytes(22) + b"\x02\x82" + bytes(version(number)) + bytes(35)
        before = now
        registrar.read([request], 0)
        assert LEAST + delay < now - before < LEAST + delay + 300
    before = now
    registrar.read([bytes(61)], 0)
    assert now - before < 300


def test_too_few_rounds_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--rounds", "1"])
    assert "at least" in capsys.readouterr().err
