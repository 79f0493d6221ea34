"""`dpe doctor`: examines an installation and says what to repair."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict

import click

from dpe_coap.binding import RESOURCE_TYPE
from dpe_coap.errors import DpeError
from dpe_server.operation import loaded
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators import health
from dpe_server.operators.node_health import Finding
from dpe_tools import terminal
from dpe_tools.exits import Exit, NoAnswer
from dpe_tools.progress import Working

PROBE_SECONDS = 3.0


@click.command()
@click.argument("state", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.option("--probe", is_flag=True, help="Only ask the server of STATE whether it answers, for a health check.")
def doctor(state: str | None, as_json: bool, probe: bool) -> int:
    """Check this installation and, if STATE is given, that server's state directory. It changes nothing.

    Exit status 1: something does not work. Warnings alone leave it at 0, and so does a server that does not run; but
    with `--probe`, the exit status is 3 if the server does not answer.
    """
    if probe and state is None:
        raise click.UsageError("--probe needs STATE")
    found: list[Finding] = []
    out = terminal.console()
    for finding in _probed(state) if probe and state is not None else examine(state):
        found.append(finding)
        if not as_json:
            style = {"ok": "green", "warn": "yellow", "fail": "bold red"}[finding.level]
            out.print(f"{finding.level:<5}", style=style, end="")
            out.print(finding.what)
            if finding.hint:
                out.print(f"      {finding.hint}", style="dim")
    if as_json:
        terminal.print_json([asdict(finding) for finding in found])
    if probe and found[-1].level == "warn":
        return Exit.NO_ANSWER
    return Exit.FAILED if any(finding.level == "fail" for finding in found) else Exit.DONE


def _probed(state: str) -> Iterator[Finding]:
    yield _probe(StateDir.open(state))


def examine(state: str | None) -> Iterator[Finding]:
    """Yield the findings, in the order in which they depend on each other."""
    if state is None:
        yield from health.programs()
        yield Finding("ok", "no STATE given: nothing of a server was looked at")
        return
    yield from health.examine(state, working=Working)
    with suppress(DpeError):  # which is among the findings
        yield _probe(StateDir.open(state))


def _probe(opened: StateDir) -> Finding:
    """Ask the server for its resources, where it says that it listens or, if it says nothing, where devices come to."""
    from dpe_tools.probe import discover

    uri = next((_reachable(uri) for process in loaded.read(opened) for uri in process.uris), opened.config.uri)
    try:
        with Working("asking the server"):
            links = discover(uri, PROBE_SECONDS)
    except NoAnswer as error:
        return Finding("warn", str(error), error.hint)
    if RESOURCE_TYPE not in (links or ""):
        return Finding("fail", f"{uri} answers, but is no DPE Server", "another CoAP server has the port; change `uri`")
    return Finding("ok", f"{uri} answers and offers {RESOURCE_TYPE}")


def _reachable(uri: str) -> str:
    """Return where a server that listens on all addresses can be asked."""
    return uri.replace("coap://0.0.0.0", "coap://127.0.0.1").replace("coap://[::]", "coap://[::1]")
