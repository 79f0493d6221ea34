"""The whole benchmark, step by step, and what it found."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dpe_bench.device import codecs, contenders, costs
from dpe_bench.device.codecs import Reader
from dpe_bench.device.contenders import Contender
from dpe_bench.device.costs import Costs
from dpe_bench.device.forger import KINDS, Forger
from dpe_bench.device.interpreter import Interpreter
from dpe_bench.device.published import PUBLISHED, Published
from dpe_bench.device.runs import Ground, Outcome
from dpe_coap.errors import LocalError
from dpe_tools.board import IMEI
from dpe_tools.board_measuring import AES, Cost, ReportCost, measure_reports
from dpe_tools.board_measuring import measure as measure_board
from dpe_tools.board_session import POLICY
from dpe_tools.board_stage import BoardStage
from dpe_tools.faults import Faults
from dpe_tools.relay import Relay
from dpe_tools.stage import Stage

WORKERS = 8
"""Processes that register devices at once over the lossy link, each one device at a time."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured."""

    registrations: int
    """For each rate of loss."""
    loss: tuple[int, ...]
    """Per cent, each way."""
    forged: int
    """Registrations for each kind of forged answer."""
    seed: int
    ack_timeout: int
    """ms, for all on the lossy link; everywhere else it is CoAP's 2 s."""


@dataclass(frozen=True, slots=True)
class Forged:
    """What became of registrations in which a forged answer came before each true one."""

    tried: int
    sent: int
    """Forged answers."""
    taken: int
    """Of these, how many the client's CoAP layer took for the response."""
    lost: int
    """Registrations that failed."""
    believed: int
    """Registrations that ended with a Client ID which the server has not given."""


@dataclass(slots=True)
class Result:
    """What was measured of a contender."""

    contender: Contender
    costs: Costs
    loss: dict[int, Outcome] = field(default_factory=dict)
    forged: dict[str, Forged] = field(default_factory=dict)


@dataclass(slots=True)
class Report:
    """What was measured, what was not, and what was read."""

    machine: str
    interpreter: str
    settings: Settings
    idle_heap: int = 0
    results: list[Result] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    modules: dict[str, int] = field(default_factory=dict)
    """Bytes of the code of each."""
    board: dict[str, Cost] = field(default_factory=dict)
    """By suite."""
    reports: dict[str, ReportCost] = field(default_factory=dict)
    """On the same board, by where AES comes from."""
    not_measured: dict[str, str] = field(default_factory=dict)
    """Who, and how to."""
    published: tuple[Published, ...] = PUBLISHED


@dataclass(frozen=True, slots=True)
class Peers:
    """Where the peers' sources and the board's firmware are; None: that is not measured."""

    microcoapy: Path | None
    cbor2: Path | None
    firmware: Path | None


def measure(interpreter: Interpreter, peers: Peers, settings: Settings, tell: Callable[[str], object]) -> Report:
    """Measure everything; ``tell`` is called with what is done next."""
    report = Report(_machine(), interpreter.versions(), settings)
    everyone = [contenders.ours(interpreter)]
    if peers.microcoapy:
        everyone += contenders.microcoapy(interpreter, peers.microcoapy)
    else:
        report.not_measured["microCoAPy"] = f"{contenders.MICROCOAPY}; then --microcoapy microCoAPy"
    with Stage(interpreter.folder) as stage:
        ground = Ground(stage, interpreter)
        report.idle_heap = costs.idle_heap(ground)
        known: dict[str, Costs] = {}
        for contender in everyone:
            if contender.program not in known:
                tell(f"{contender.name}: bytes on the wire, instructions and heap")
                known[contender.program] = costs.measure(ground, contender)
            report.results.append(Result(contender, known[contender.program]))
            _try(ground, report.results[-1], settings, tell)
    tell("readers of CBOR")
    report.readers = _readers(interpreter, peers, report.not_measured)
    report.modules = contenders.modules(interpreter)
    if peers.firmware:
        tell("dpe-coap on the emulated board")
        try:
            report.board, report.reports = _board(interpreter.folder / "board", peers.firmware)
        except LocalError as error:  # the rest has taken minutes, and stands
            report.not_measured["an emulated board"] = str(error)
    else:
        report.not_measured["an emulated board"] = "tools/build_board; then --board .cache/board/firmware.elf"
    return report


def _try(ground: Ground, result: Result, settings: Settings, tell: Callable[[str], object]) -> None:
    contender = result.contender
    for loss in settings.loss:
        tell(f"{contender.name}: {settings.registrations} registrations, {loss} % of the datagrams lost")
        with Relay(ground.server, Faults(loss=loss / 100), seed=settings.seed) as relay:
            outcome = ground.register(
                contender, settings.registrations, relay.address, settings.ack_timeout, workers=WORKERS
            )
        result.loss[loss] = outcome
    for kind in KINDS:
        tell(f"{contender.name}: {settings.forged} registrations with answers forged, {kind}")
        result.forged[kind] = _forged(ground, contender, kind, settings.forged)


def _forged(ground: Ground, contender: Contender, kind: str, count: int) -> Forged:
    with Forger(ground.server, kind) as forger:
        outcome = ground.register(contender, count, forger.address, costs.ACK_TIMEOUT, counted=True)
    assert outcome.taken is not None
    true = 2 * outcome.registered  # RESPONSE and CONFIRM
    lost = outcome.tried - outcome.registered
    return Forged(outcome.tried, forger.forged, outcome.taken - true, lost, outcome.wrong)


def _readers(interpreter: Interpreter, peers: Peers, not_measured: dict[str, str]) -> list[Reader]:
    code = contenders.messages_code(interpreter)
    scope = "strict reader of what a client receives, writer of what it sends, key schedule, security tokens"
    found = [codecs.measure(interpreter, "dpe", "dpe-coap", "messages.py", code, scope)]
    if peers.cbor2:
        version, code = contenders.cbor2(interpreter, peers.cbor2)
        name = "micropython-lib's cbor2"
        found.append(codecs.measure(interpreter, "cbor2", name, version, code, "general reader and writer"))
    else:
        not_measured["micropython-lib's cbor2"] = f"{contenders.CBOR2} with --cbor2"
    return found


def _board(directory: Path, firmware: Path) -> tuple[dict[str, Cost], dict[str, ReportCost]]:
    directory.mkdir()
    with BoardStage(directory, firmware, count_instructions=True, policy=POLICY) as stage:
        stage.provision(IMEI)
        stage.registered()
        registrations = {f"suite {suite}": measure_board(stage, suite) for suite in (1, 2)}
        return registrations, {aes: measure_reports(stage, aes) for aes in AES}


def check(report: Report) -> None:
    """Raise LocalError if our own client is wrong: it believed a forgery, or failed for one, or for nothing at all."""
    mine = report.results[0]
    if 0 in mine.loss and mine.loss[0].registered < mine.loss[0].tried:
        raise LocalError("dpe-coap did not register each time, and nothing was lost", hint=_REPORT)
    outcomes = mine.loss.values()
    forged = mine.forged.values()
    if any(outcome.wrong for outcome in outcomes) or any(one.believed for one in forged):
        raise LocalError("dpe-coap said it was registered, and the server has no such session", hint=_REPORT)
    if any(one.lost for one in forged):
        raise LocalError("dpe-coap lost registrations to forged answers", hint=_REPORT)


_REPORT = "this is a defect of dpe-coap: report it"


def _machine() -> str:
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = f", {names[0]}" if names else ""
    return f"{platform.system()} {platform.machine()}{model}, {os.cpu_count()} CPUs"
