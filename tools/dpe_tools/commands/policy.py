"""`dpe policy`: whether the file is correct, what it answers a device, and what one device reports in place of it."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from dpe_coap.imei import Imei
from dpe_coap.messages import Version
from dpe_coap.session_messages import decode_policies
from dpe_server.operation.state_dir import StateDir, check_access
from dpe_server.operators import measures, rules
from dpe_server.policy import PolicyError, Traits, describe, load, load_override
from dpe_server.policy.reporting import described
from dpe_tools import terminal
from dpe_tools.commands.device import holder
from dpe_tools.commands.message import parse_version
from dpe_tools.exits import Exit
from dpe_tools.progress import Working


@click.group()
def policy() -> None:
    """Check a policy, explain what it answers a device, or have one device report by policies of its own."""


@policy.command()
@click.argument("path", metavar="STATE|FILE", type=click.Path(path_type=Path))
@terminal.json_option
def check(path: Path, as_json: bool) -> None:
    """Check a policy as the server would read it.

    Every fault is reported with its line and key. In a state directory, it is also checked who may use the files.
    """
    file = path / "policy.toml" if path.is_dir() else path
    if path.is_dir() or (file.parent / "keys.json").exists():
        check_access(file.parent)
    with _every_fault_told(as_json=as_json), Working("reading the policy"):
        loaded = load(file)
    if as_json:
        terminal.print_json({"file": str(file)} | rules.in_json(loaded))
        return
    click.echo(f"{file}: good, {len(loaded.rules)} rule{'' if len(loaded.rules) == 1 else 's'}")
    for rule in loaded.rules:
        click.echo(f"  line {rule.line}, {rule.name}: for {rule.asks()}: {describe(rule.decision)}")
    click.echo("  otherwise: refuse")
    if loaded.allow_clear_imei:
        click.echo("  an IMEI in clear is taken: for a lab only")


@policy.command()
@click.argument("state")
@click.option("--imei", required=True, metavar="IMEI", help="The device's IMEI; - reads it from standard input.")
@click.option(
    "--version", required=True, callback=parse_version, metavar="V", help="The DPE version that the device asks for."
)
@click.option("--firmware", metavar="TEXT", help="The firmware that the device names.")
@click.option("--x25519", is_flag=True, help="Assume that the REQUEST has an X25519 key.")
@click.option("--json", "as_json", is_flag=True, help="Print the rules that were tried as JSON.")
def explain(state: str, imei: str, version: Version, firmware: str | None, x25519: bool, as_json: bool) -> None:
    """Explain which rule of STATE decides about a device.

    The earlier rules are shown, too, and why they do not match. Below a rule that accepts the device stands what the
    device is told to report, and when. Of the IMEI only the TAC matters, which identifies the model. A revocation
    overrides the policy; it is shown first.
    """
    device = Imei.parse(sys.stdin.readline() if imei == "-" else imei)
    opened = StateDir.open(state)
    steps = load(opened.policy_path).explain(Traits(version, firmware, device.tac, x25519))
    restricted = restriction(opened, device)
    if as_json:
        terminal.print_json({"before": restricted, "steps": [asdict(step) for step in steps]})
        return
    if restricted:
        click.echo(f"before the policy: {restricted}")
    for step in steps:
        place = "" if step.line is None else f" (line {step.line})"
        click.echo(f"{'->' if step.matched else '  '} {step.rule}{place}: {step.why}")
        for line in step.reporting:
            click.echo(f"     {line}")


def restriction(opened: StateDir, device: Imei) -> str:
    """Return what the server answers a device before it asks the policy, or an empty string."""
    name = opened.at_rest.device_id(device)
    with closing(opened.open_store()) as store:
        return rules.before(store, name)


@policy.command("set")
@click.argument("state")
@click.argument("client_id")
@click.argument("report", metavar="REPORT", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what the device would be told, and change nothing.")
@terminal.json_option
def set_(state: str, client_id: str, report: Path, dry_run: bool, as_json: bool) -> None:
    """Have the device that holds CLIENT_ID (14 hex digits) report by policies of its own.

    REPORT is a TOML file with one table, [report], as a rule has it; if that is empty, the device reports nothing
    unasked. It takes the place of what the rule says, in this session and all later ones of the device, until `dpe
    policy clear`. The device is told in the answer to its next report. A running server obeys at once.
    """
    opened = StateDir.open(state)
    vocabulary = load(opened.policy_path).vocabulary
    with _every_fault_told(as_json=as_json):
        own = load_override(report, vocabulary)
    with closing(opened.open_store()) as store:
        device = holder(store, client_id, state).device
        done = measures.set_policies(opened, store, device, own, vocabulary, dry_run=dry_run)
    told = decode_policies(own)
    lines = described(told, vocabulary)
    would = "would be told" if dry_run else "is told"
    terminal.tell(
        done,
        f"at its next report, the device {would} to report{':' if lines else ' nothing unasked'}",
        *(f"  {line}" for line in lines),
        as_json=as_json,
    )
    if dry_run:
        click.echo("nothing was changed", err=True)


@policy.command()
@click.argument("state")
@click.argument("client_id")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@terminal.json_option
def clear(state: str, client_id: str, dry_run: bool, as_json: bool) -> None:
    """Have the device that holds CLIENT_ID (14 hex digits) report by its rule again.

    This takes back `dpe policy set`, also if that was for an earlier session of the device.
    """
    opened = StateDir.open(state)
    with closing(opened.open_store()) as store:
        session = holder(store, client_id, state)
        told = measures.clear_policies(opened, store, session, dry_run=dry_run)
    reports = "would report" if dry_run else "reports"
    line = f'cleared: from its next report on, the device {reports} by its rule, "{session.rule}"'
    if not told["cleared"]:
        line = f'nothing was set: the device reports by its rule, "{session.rule}"'
    terminal.tell(told, line, as_json=as_json)
    if dry_run:
        click.echo("nothing was changed", err=True)


@contextmanager
def _every_fault_told(*, as_json: bool) -> Iterator[None]:
    """End the command with a line for each fault of a policy, if there are any."""
    try:
        yield
    except PolicyError as error:
        for line in error.report:
            click.echo(f"dpe: error: {line}", err=True)
        click.echo(f"hint: {error.hint}", err=True)
        if as_json:
            fault = {"message": str(error), "hint": error.hint, "status": int(Exit.FAILED), "faults": error.report}
            terminal.print_json({"error": fault}, line=True)
        sys.exit(Exit.FAILED)
