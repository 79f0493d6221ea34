"""`dpe policy`: whether the file is correct, and what it answers a device."""

import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import click

from dpe_coap.imei import Imei
from dpe_coap.messages import Version
from dpe_server.operation.state_dir import StateDir, check_access
from dpe_server.policy import PolicyError, Traits, describe, load
from dpe_server.store.contract import Questions, Restriction
from dpe_server.store.opening import open_store
from dpe_tools import terminal
from dpe_tools.commands.message import parse_version


@click.group()
def policy() -> None:
    """Check a policy, or explain what it answers a device."""


@policy.command()
@click.argument("path", metavar="STATE|FILE", type=click.Path(path_type=Path))
def check(path: Path) -> int:
    """Check a policy as the server would read it.

    Every fault is reported with its line and key. In a state directory, it is also checked who may use the files.
    """
    file = path / "policy.toml" if path.is_dir() else path
    if path.is_dir() or (file.parent / "keys.json").exists():
        check_access(file.parent)
    try:
        loaded = load(file)
    except PolicyError as error:
        for line in error.report:
            click.echo(f"dpe: error: {line}", err=True)
        click.echo(f"hint: {error.hint}", err=True)
        return 1
    click.echo(f"{file}: good, {len(loaded.rules)} rule{'' if len(loaded.rules) == 1 else 's'}")
    for rule in loaded.rules:
        click.echo(f"  line {rule.line}, {rule.name}: for {rule.asks()}: {describe(rule.decision)}")
    click.echo("  otherwise: refuse")
    if loaded.allow_clear_imei:
        click.echo("  an IMEI in clear is taken: for a lab only")
    return 0


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
    with closing(open_store(opened.store_url)) as store:
        facts = store.look(Questions(restrictions={name}))
    found = facts.restrictions.get(name, Restriction())
    if found.revoked:
        return "the device is revoked and gets 4.01, whatever the policy says"
    minimum = max(facts.minimum_epoch, found.minimum_epoch)
    return f"a credential below epoch {minimum} gets the status reprovision" if minimum else ""
