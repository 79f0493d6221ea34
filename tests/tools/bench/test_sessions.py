"""`dpe bench sessions`: it runs, what it counts is right, and a broken promise or a wrong answer is told."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dpe_bench import session_contenders, sessions
from dpe_bench.comparison import cells
from dpe_bench.contenders import AIOCOAP, ECHO, LIBCOAP, OURS
from dpe_bench.limits import Limit
from dpe_bench.session_contenders import CONTENDERS, FEW, MANY, UNCOMMITTED, Places, SessionContender
from dpe_bench.session_fleet import Fleet
from dpe_bench.session_report import limits
from dpe_bench.session_run import Sample
from dpe_coap.client_ids import client_id_of
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Contact
from dpe_server.store.opening import open_store
from tests.tools.conftest import Invoke

SAMPLE = Sample(
    cpu=20, user=15, kernel=5, rate=50_000, p50=100, p99=400, p999=900, offered=15_000, memory=0, reports=9, resent=0,
    faults=0,
)  # fmt: skip
SESSIONS = {FEW: 1_000, MANY: 1_000_000}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet.make(tmp_path_factory.mktemp("fleet") / "fleet", 40)


@pytest.mark.timeout(240)
def test_every_server_is_measured_and_every_answer_verified(dpe: Invoke, load: Path, root: Path) -> None:
    shown = dpe("bench", "sessions", "--quick", "--json", "--peers", root / ".cache" / "peers")
    report: dict[str, Any] = json.loads(shown.stdout)
    assert report["missing"] == {}
    sessions = {OURS: 5_000, UNCOMMITTED: 5_000, AIOCOAP: 64, LIBCOAP: 64, ECHO: 64, FEW: 500, MANY: 2_000}
    assert {cell["contender"]: cell["sessions"] for cell in report["cells"]} == sessions
    for cell in report["cells"]:
        assert cell["median"]["faults"] == 0
        assert cell["median"]["reports"] > (200 if cell["sessions"] == 64 else cell["sessions"])
        assert cell["median"]["cpu"] >= 0
        assert 0 < cell["median"]["p50"] <= cell["median"]["p99"]
    assert report["versions"][LIBCOAP].startswith("libcoap 4.3.")
    assert report["versions"][AIOCOAP].startswith("aiocoap 0.4.")
    assert len(report["limits"]) == 7


def test_one_server_alone_is_shown(dpe: Invoke, load: Path) -> None:
    shown = dpe("bench", "sessions", "--quick", "--contender", ECHO).stdout
    assert "C echo" in shown
    assert "64" in shown
    assert "promise" not in shown


def test_a_named_peer_that_is_missing_is_an_error(
    dpe: Invoke, load: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_contenders, "_has_libcoap", lambda: False)
    named = dpe("bench", "sessions", "--quick", "--contender", LIBCOAP, "--peers", tmp_path, status=1)
    assert named.stderr.splitlines()[-2:] == [
        f"dpe: error: libcoap with OSCORE is not in {tmp_path}",
        "hint: run tools/fetch_peers, or say --peers DIR",
    ]


def test_a_wrong_answer_fails_the_command(dpe: Invoke, load: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The echo's answer is not protected."""

    def reporting(places: Places) -> SessionContender:
        _, argument = session_contenders._peers(places, ECHO)
        return replace(CONTENDERS[ECHO](places), argument=argument, job="session")

    monkeypatch.setattr(sessions, "CONTENDERS", {ECHO: reporting})
    shown = dpe("bench", "sessions", "--quick", "--contender", ECHO, status=1)
    assert "dpe: error: C echo: " in shown.stderr
    assert "reports went wrong" in shown.stderr


def test_a_server_that_is_too_slow_to_warm_up_is_an_error(
    dpe: Invoke, load: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpe_bench.session_run.WARM_UP_SECONDS", 0.0)
    shown = dpe("bench", "sessions", "--quick", "--contender", ECHO, status=1)
    assert "C echo has answered 0 of the first 200 reports in time" in shown.stderr


def test_a_broken_promise_fails_the_command_unless_it_is_quick(dpe: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        limits = (Limit("cost", 2.0, 1.3), Limit("memory", 200.0, 250.0))
        cells = ()
        machine: ClassVar[dict[str, str]] = {}
        missing = machine

    monkeypatch.setattr(sessions, "_measure", lambda *_: Found())
    shown = dpe("bench", "sessions", status=1)
    assert [line.split() for line in shown.stdout.splitlines() if line.split()[:1] in (["cost"], ["memory"])] == [
        ["cost", "2", "1.3", "no"],
        ["memory", "200", "250", "yes"],
    ]
    assert shown.stderr == "dpe: error: cost: 2, more than 1.3\n"
    dpe("bench", "sessions", "--quick")


def test_the_promises_are_those_of_one_run() -> None:
    medians = {
        OURS: SAMPLE,
        UNCOMMITTED: replace(SAMPLE, cpu=12),
        AIOCOAP: replace(SAMPLE, cpu=160, p99=8_000),
        LIBCOAP: replace(SAMPLE, cpu=20),
        ECHO: replace(SAMPLE, cpu=2.2),
        FEW: replace(SAMPLE, cpu=20),
        MANY: replace(SAMPLE, cpu=24, memory=200_000_000),
    }
    found = [(limit.found, limit.most, limit.holds) for limit in limits(medians, SESSIONS)]
    assert found == [
        (0.125, 0.125, True),
        (1.0, 1.2, True),
        (20.0, 35.0, True),
        (12.0, 12.0, True),
        (0.05, 0.05, True),
        (200.0, 250.0, True),
        (1.2, 1.3, True),
    ]
    worse = {OURS: replace(SAMPLE, cpu=24.2, p99=401), MANY: replace(SAMPLE, cpu=27, memory=251_000_000)}
    broken = limits(medians | worse, SESSIONS)
    assert [limit.holds for limit in broken] == [False, False, True, True, False, False, False]


def test_the_lane_is_judged_by_the_echo_of_its_run() -> None:
    def lane(cpu: float, echo: float) -> Limit:
        medians = {UNCOMMITTED: replace(SAMPLE, cpu=cpu), ECHO: replace(SAMPLE, cpu=echo)}
        (limit,) = limits(medians, {})
        return limit

    assert lane(12.1, 2.2).holds is False
    assert lane(12.1, 0.0).holds is False
    assert lane(12.1, 1.1).holds is False  # a quick machine is no excuse, and no burden
    assert lane(24.0, 4.4).holds is True
    assert "scaled from an echo of 4.4 µs" in lane(24.0, 4.4).name
    assert lane(24.1, 4.4).holds is False


def test_the_store_is_looked_into(fleet: Fleet) -> None:
    assert fleet.check(0) == 0
    assert fleet.check(1) == 1
    assert fleet.check(41) == 40
    first = client_id_of(fleet.records.read_bytes()[:7])
    with closing(open_store(StateDir.open(fleet.state).store_url)) as store:
        session = store.session(first)
        assert session is not None
        store.commit([Contact(first, session.ordinal, 1, bytes(16), {}, None)])
    assert fleet.check(1) == 0
    assert fleet.check(0) == 1
    assert fleet.check(2) == 1


def test_each_server_is_compared_with_ours_of_the_same_size_or_else_with_ours() -> None:
    found = cells(
        {
            (ECHO, 64): [replace(SAMPLE, cpu=2)],
            (OURS, 5_000): [replace(SAMPLE, cpu=20), replace(SAMPLE, cpu=30), replace(SAMPLE, cpu=10)],
            (OURS, 64): [replace(SAMPLE, cpu=40)],
            (AIOCOAP, 64): [replace(SAMPLE, cpu=80)],
            (MANY, 2_000): [replace(SAMPLE, cpu=25)],
        }
    )
    assert [(cell.contender, cell.size, cell.median.cpu, cell.ratio) for cell in found] == [
        (ECHO, 64, 2, 0.05),
        (OURS, 5_000, 20, 1.0),
        (OURS, 64, 40, 1.0),
        (AIOCOAP, 64, 80, 2.0),
        (MANY, 2_000, 25, 1.25),
    ]
    assert [cell.ratio for cell in cells({(ECHO, 64): [SAMPLE]})] == [None]
