"""What benchmarks are held to: each limit is judged right, and one that does not hold fails the command."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from dpe_bench import registration_report, registration_run, registrations, server, transport, transport_report
from dpe_bench.comparison import Cell
from dpe_bench.contenders import LIBCOAP_IDLE, OURS
from dpe_bench.limits import ECHO, Limit, scaled
from dpe_bench.transport_report import FEW, MANY
from tests.tools.conftest import Invoke

REQUEST = transport.Sample(
    cpu=10, user=5, kernel=5, rate=100_000, p50=80, p99=300, p999=900, offered=30_000, memory=0, longest_gc=None,
    seen=FEW, requests=9, resent=0, faults=0,
)  # fmt: skip
REGISTRATION = registration_run.Sample(
    rate=10_000, cpu=95, user=70, kernel=25, p50=3_000, p99=10_000, p999=20_000, request_p99=2_000, success_p99=8_000,
    discovery=9_000, offered=3_000, memory=300, exchanges=9, longest_gc=None, registrations=9, checked=9, resent=0,
    faults=0,
)  # fmt: skip
ON_DISK, IN_MEMORY = "durable, on ext4", "in memory"


def requests(**costs: float) -> list[tuple[float, float, bool]]:
    """Return what holds for requests of this cost: ``ours_64``, ``libcoap_64`` and so on."""
    names = {"ours": OURS, "libcoap": LIBCOAP_IDLE}
    cells: list[Cell[transport.Sample]] = []
    for name, cost in costs.items():
        contender, _, size = name.partition("_")
        cells.append(Cell(names[contender], int(size), replace(REQUEST, cpu=cost), None, ()))
    return [(limit.found, limit.most, limit.holds) for limit in transport_report.limits(cells)]


def test_a_request_may_cost_what_it_costs_libcoap() -> None:
    assert requests(ours_64=10, libcoap_64=10, ours_1000000=11, libcoap_1000000=10) == [
        (1.0, 1.0, True),
        (1.1, 1.0, False),
        (1.1, 1.1, True),
    ]
    assert requests(ours_64=10, libcoap_64=8, ours_1000000=12) == [(1.25, 1.0, False), (1.2, 1.1, False)]
    assert requests(ours_64=10, libcoap_1000000=8) == []
    assert (FEW, MANY) == (64, 1_000_000)


def durable(echo: float | None, **changed: Any) -> Sequence[Limit]:
    """Return the limits of durable registrations beside an echo of so many microseconds."""
    samples = {(IN_MEMORY, OURS): [replace(REGISTRATION, cpu=1)], (ON_DISK, "aiocoap"): [REGISTRATION]}
    samples[ON_DISK, OURS] = [replace(REGISTRATION, **changed)]
    echoes = [] if echo is None else [replace(REQUEST, cpu=echo)]
    settings = registration_run.Settings(rounds=1, seconds=1, window=1, devices=1)
    return registration_report.Report.of({}, settings, samples, echoes, None).limits


def test_a_durable_registration_is_judged_by_the_echo_of_its_run() -> None:
    assert [(limit.found, limit.most) for limit in durable(ECHO)] == [(95, 95), (10, 10)]
    assert [limit.holds for limit in durable(ECHO, cpu=95.1)] == [False, True]
    assert [limit.holds for limit in durable(ECHO, p99=10_001)] == [True, False]
    assert [limit.holds for limit in durable(2 * ECHO, cpu=190, p99=20_000)] == [True, True]
    assert [limit.holds for limit in durable(2 * ECHO, cpu=191, p99=20_001)] == [False, False]
    assert durable(None) == []


def test_a_quick_machine_is_no_burden_and_a_slow_one_is_named() -> None:
    assert scaled("cost", 10, 10, echo=1.0) == Limit("cost", 10, 10)
    assert scaled("cost", 10, 10, echo=0.0) == Limit("cost", 10, 10)
    assert scaled("cost", 20, 10, echo=4.4) == Limit("cost, scaled from an echo of 4.4 µs to one of 2.2 µs", 10, 10)


def test_a_limit_that_does_not_hold_fails_the_command(dpe: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = registration_run.Settings(rounds=1, seconds=1, window=1, devices=1)

    def measured(*_: Any, **__: Any) -> registration_report.Report:
        samples = {(ON_DISK, OURS): [replace(REGISTRATION, cpu=190)]}
        return registration_report.Report.of({}, settings, samples, [replace(REQUEST, cpu=3.3)], None)

    monkeypatch.setattr(registrations, "_measure", measured)
    shown = dpe("bench", "registrations", status=1)
    assert shown.stderr == (
        "dpe: error: CPU of a durable registration, µs, scaled from an echo of 3.3 µs to one of 2.2 µs: 127,"
        " more than 95\n"
    )
    assert "promise" in shown.stdout
    assert "A request took the C echo 3.3 µs of CPU, p50 80 µs." in shown.stdout
    assert "promise" not in dpe("bench", "registrations", "--quick").stdout


def test_an_echo_that_goes_wrong_fails_the_command(dpe: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = registration_run.Settings(rounds=1, seconds=1, window=1, devices=1)
    report = registration_report.Report.of({}, settings, {}, [replace(REQUEST, faults=2)], None)
    monkeypatch.setattr(registrations, "_measure", lambda *_, **__: report)
    shown = dpe("bench", "registrations", "--server", "C echo", status=1)
    assert shown.stderr == "dpe: error: C echo: 2 requests were not answered right\n"


def test_a_request_that_is_dearer_than_libcoap_fails_the_command(dpe: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        limits = (Limit("cost", 1.3, 1.0),)
        cells = ()
        machine: dict[str, str] = {}  # noqa: RUF012  # empty
        missing = machine

    monkeypatch.setattr(server, "_measure", lambda *_: Found())
    assert dpe("bench", "server", status=1).stderr == "dpe: error: cost: 1.3, more than 1\n"
    dpe("bench", "server", "--quick")
