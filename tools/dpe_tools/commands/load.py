"""`dpe load`: many devices at once, all running the real client, against a real server."""

import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from dpe_coap.errors import LocalError
from dpe_coap.session_messages import MAX_PROPERTIES
from dpe_server.operation.credential import Credential
from dpe_server.operation.nodes import current_keys
from dpe_server.operation.state_dir import StateDir
from dpe_tools import credentials
from dpe_tools.faults import Faults
from dpe_tools.load.crew import Crew
from dpe_tools.load.ledger import compare
from dpe_tools.load.network import Server
from dpe_tools.load.plan import MOST_DEVICES, Plan, Talk
from dpe_tools.load.progress import Progress
from dpe_tools.load.report import Report
from dpe_tools.load.worker import FromFiles, FromKeys, Maker
from dpe_tools.stage import Stage

DEVICES = 1000
"""The number of devices, by default."""
LASTING = 100_000
"""The number of devices, by default, when they take turns: a server lets each register some 20 times a minute."""
AT_ONCE = 64
"""How many registrations are under way at all times, by default."""
REPORTS = 10
"""How many reports each device sends, by default."""
PROVISION = "make some with: dpe provision STATE --csv FILE --out DIR"
BACKOFF = 2.5
"""The device's first back-off, in ACK_TIMEOUTs: 5 s with CoAP's 2 s."""
PROBABILITY = click.FloatRange(0, 1)
COUNT = click.IntRange(1)
SECONDS = click.FloatRange(0, min_open=True)


@click.command()
@click.argument("state", required=False)
@click.option(
    "--credentials", "directory", metavar="DIR", help="Instead of STATE: what `dpe provision --out DIR` made."
)
@click.option("--server", metavar="URI", help="The server's URI, if it is not the one in the credentials.")
@click.option(
    "--devices",
    type=click.IntRange(1, MOST_DEVICES),
    metavar="N",
    show_default=f"{DEVICES}; {LASTING} with --duration or --count",
    help="The number of devices. A server lets each register 20 times a minute.",
)
@click.option("--rate", type=SECONDS, metavar="R", help="Let R devices arrive per second, at random times.")
@click.option(
    "--closed",
    type=COUNT,
    metavar="N",
    show_default=f"{AT_ONCE}",
    help="Keep N registrations under way at all times.",
)
@click.option("--restart-storm", is_flag=True, help="Register all devices, reboot them, and let all register at once.")
@click.option("--count", type=COUNT, metavar="N", show_default="one per device", help="End after N registrations.")
@click.option("--duration", type=SECONDS, metavar="SECONDS", help="End after this time.")
@click.option(
    "--reports",
    type=COUNT,
    metavar="N",
    show_default=f"{REPORTS} if another option of sessions is given; with --duration, until its end",
    help="Let each device report N times in its session once it is registered.",
)
@click.option(
    "--report-every",
    type=SECONDS,
    metavar="SECONDS",
    show_default=f"{Talk(None).every:g}",
    help="From one report of a device to the next, half as many more or less. A server takes one a second.",
)
@click.option(
    "--properties",
    type=click.IntRange(1, MAX_PROPERTIES),
    metavar="N",
    show_default="1",
    help="Put N properties into each report.",
)
@click.option("--sleep", type=PROBABILITY, metavar="P", help="After this share of the reports, sleep until the next.")
@click.option(
    "--reboot",
    type=PROBABILITY,
    metavar="P",
    help="With this share of the reports, lose power: half of them before the answer comes.",
)
@click.option("--end", type=PROBABILITY, metavar="P", help="Let this share of the devices deregister in the end.")
@click.option(
    "--timeout",
    type=SECONDS,
    default=120,
    show_default=True,
    metavar="SECONDS",
    help="For each registration and each report: when to give up.",
)
@click.option("--loss", type=PROBABILITY, default=0, metavar="P", help="Lose this share of the datagrams.")
@click.option("--duplicate", type=PROBABILITY, default=0, metavar="P", help="Duplicate this share.")
@click.option("--reorder", type=PROBABILITY, default=0, metavar="P", help="Delay this share by up to 50 ms.")
@click.option("--corrupt", type=PROBABILITY, default=0, metavar="P", help="Damage this share.")
@click.option(
    "--suite", type=click.IntRange(1, 2), default=1, show_default=True, metavar="N", help="1 is plain, 2 is X25519."
)
@click.option(
    "--ack-timeout", type=SECONDS, default=2, show_default=True, metavar="SECONDS", help="CoAP's ACK_TIMEOUT."
)
@click.option(
    "--seed", default=1, show_default=True, metavar="N", help="Draws arrivals and faults; the same seed repeats them."
)
@click.option(
    "--processes", type=COUNT, default=1, show_default=True, metavar="N", help="Spread the devices over N processes."
)
@click.option(
    "--at-least",
    type=click.FloatRange(0, 100),
    default=100,
    show_default=True,
    metavar="PERCENT",
    help="Fail if less than this share of the registrations ends in REGISTERED, or of the reports is taken.",
)
@click.option(
    "--json", "json_file", metavar="FILE", help="Write the report to FILE as JSON; - prints it instead of the text."
)
def load(state: str | None, directory: str | None, server: str | None, **options: Any) -> None:
    """Register many simulated devices with the server of STATE and report rates, latencies and failures.

    Each device runs the code that runs on a board, and has an endpoint of its own. Credentials are made in memory with
    the keys of STATE, for IMEIs that no real device has. Afterwards every device is compared with the store. With
    neither STATE nor --credentials, the command starts a server of its own with throw-away keys.

    With --reports, or another option of sessions, each device goes on with its session once it is registered. It
    reports properties of its own, sleeps, loses power and deregisters, as the options say. Afterwards, the store must
    have what each has reported last.

    Exit status 1: fewer registrations or reports than --at-least succeeded, or devices and store disagree.
    """
    _check(state, directory, options)
    signal.signal(signal.SIGTERM, _terminated)
    with ExitStack() as cleanup:
        if directory is not None:
            given = _read(Path(directory))
            report = _run(FromFiles(given), len(given), server or _one_server(given), None, options)
        else:
            if state is None:
                place = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="dpe-load-")))
                state = str(cleanup.enter_context(Stage(place)).state)
            opened = StateDir.open(state)
            make = FromKeys(current_keys(opened), opened.config)
            report = _run(make, MOST_DEVICES, server or opened.config.uri, opened, options)
    _tell(report, options["json_file"])
    if report.interrupted:
        sys.exit(130)
    disagrees = report.agreement is not None and not report.agreement.holds
    if disagrees or min(report.succeeded, report.reported) < options["at_least"]:
        sys.exit(1)


def _check(state: str | None, directory: str | None, options: dict[str, Any]) -> None:
    if state is not None and directory is not None:
        raise click.UsageError("give STATE or --credentials, not both")
    if sum((options["rate"] is not None, options["closed"] is not None, options["restart_storm"])) > 1:
        raise click.UsageError("give one of --rate, --closed and --restart-storm")
    if options["duration"] is not None and (options["count"] is not None or options["restart_storm"]):
        raise click.UsageError("--duration goes neither with --count nor with --restart-storm")
    if options["count"] is not None and options["restart_storm"]:
        raise click.UsageError("a --restart-storm is one registration of each device: give --devices, not --count")


def _run(make: Maker, known: int, uri: str, state: StateDir | None, options: dict[str, Any]) -> Report:
    """Carry the load out. ``make`` knows ``known`` devices. ``state`` is the server's, if it is available."""
    where = Server.reached(uri)
    usual = DEVICES if options["duration"] is None and options["count"] is None else LASTING
    plan = _plan(min(known, usual) if options["devices"] is None else options["devices"], options)
    if len(plan.devices) > known:
        raise LocalError(f"there are credentials for {known} devices only", hint="make more, or give less --devices")
    processes = min(options["processes"], len(plan.devices), plan.at_once or sys.maxsize)
    with Crew(processes, where, make, keep_ledger=state is not None) as crew:
        plans = {plan.title: plan}
        if options["restart_storm"]:
            first = replace(plan, at_once=max(AT_ONCE, processes), faults=Faults(), talk=None)
            plans = {"registering all": first, **plans}
        for title, one in plans.items():
            if not crew.interrupted:
                with Progress(title) as progress:
                    tally = crew.carry_out(one, progress)
        agreement = None if state is None else compare(crew.ledger(), state)
        return Report(uri, plan.title, processes, tally, agreement, crew.interrupted)


def _plan(devices: int, options: dict[str, Any]) -> Plan:
    at_once = options["closed"]
    if options["rate"] is None and not options["restart_storm"]:
        at_once = min(at_once or AT_ONCE, devices)
    return Plan(
        devices=range(devices),
        registrations=options["count"] or (devices if options["duration"] is None else None),
        rate=options["rate"],
        at_once=at_once,
        duration=options["duration"],
        timeout=options["timeout"],
        faults=Faults(options["loss"], options["duplicate"], options["reorder"], options["corrupt"]),
        seed=str(options["seed"]),
        suite=options["suite"],
        ack_timeout=int(options["ack_timeout"] * 1000),
        backoff=int(options["ack_timeout"] * 1000 * BACKOFF),
        talk=_talk(options),
    )


def _talk(options: dict[str, Any]) -> Talk | None:
    """Return what the devices do in their sessions; None: they have none."""
    names = {"report_every": "every", **{name: name for name in ("properties", "sleep", "reboot", "end")}}
    given = {name: options[option] for option, name in names.items() if options[option] is not None}
    reports = options["reports"]
    if reports is None and not given:
        return None
    if reports is None and options["duration"] is None:
        reports = REPORTS
    return Talk(reports, **given)


def _read(directory: Path) -> list[Credential]:
    """Read every credential of a directory. Raises LocalError."""
    if not directory.is_dir():
        raise LocalError(f"{directory}: there is no such directory", hint=PROVISION)
    found = credentials.load_all(directory)
    if not found:
        raise LocalError(f"{directory}: no credential is there", hint=PROVISION)
    return found


def _one_server(found: list[Credential]) -> str:
    """Return the server that all credentials name. Raises LocalError if they name several."""
    servers = {one.server for one in found}
    if len(servers) > 1:
        raise LocalError("the credentials are for several servers", hint="name the one to load with --server URI")
    return servers.pop()


def _tell(report: Report, json_file: str | None) -> None:
    if json_file is not None:
        text = json.dumps(report.json(), indent=2) + "\n"
        if json_file == "-":
            click.echo(text, nl=False)
            return
        Path(json_file).write_text(text, encoding="utf-8")
    for line in report.lines():
        click.echo(line)


def _terminated(_number: int, _frame: object) -> NoReturn:
    """End as Ctrl-C does, so that a server of our own is stopped and its directory removed."""
    sys.exit(143)
