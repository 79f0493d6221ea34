"""The lane answers as the aiocoap endpoint does."""

import pytest

from dpe_server.coap import lane
from tests.assurance import differential
from tests.differential.pair import compare, compare_batches

REQUESTS = 2_000
CODES = {"0.00", "2.04", "2.05", "4.00", "4.01", "4.02", "4.03", "4.04", "4.05", "4.06", "4.12", "4.13", "4.15", "5.03"}


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_datagrams_get_the_same_bytes(seed: int) -> None:
    counts = compare(REQUESTS, seed)
    assert counts.pop("lane") > REQUESTS / 4
    assert counts.pop("protected") > REQUESTS / 40
    assert counts.keys() >= CODES


def test_the_same_batches_get_the_same_bytes() -> None:
    counts = compare_batches(REQUESTS, 3)
    assert counts.pop("lane") > REQUESTS / 4
    assert counts.pop("protected") > REQUESTS / 40
    assert {"0.00", "2.04", "2.05", "4.00", "4.01", "4.02", "4.04", "5.03"} <= counts.keys()


def test_the_instrument_tells_a_difference(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert differential.main(["50", "--seed", "4"]) == 0
    assert "50 datagrams in batches, seed 4: no difference" in capsys.readouterr().out
    monkeypatch.setattr(lane.Entrance, "admits", lambda entrance, request: True)
    assert differential.main(["1000"]) == 1
    assert capsys.readouterr().out.startswith("one by one: datagram ")
