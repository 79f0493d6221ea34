"""`dpe doctor`: examines an installation and says what to repair."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dpe_coap.binding import RESOURCE_TYPE, Code
from dpe_coap.errors import DpeError
from dpe_server.operators.findings import Finding
from dpe_tools import terminal
from dpe_tools.exits import Exit, NoAnswer
from dpe_tools.progress import Working

if TYPE_CHECKING:
    from dpe_server.operation.state_dir import StateDir

PROBE_SECONDS = 3.0
ADDRESS = re.compile(r"coap://.*|[^/]+:[0-9]+", re.ASCII)
"""What may stand for STATE where only the server is asked."""


@click.command()
@click.argument("state", metavar="[STATE|HOST:PORT]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.option(
    "--probe", is_flag=True, help="Only ask the server of STATE, or at HOST:PORT, whether it answers: a health check."
)
def doctor(state: str | None, as_json: bool, probe: bool) -> int:
    """Check this installation and, if STATE is given, that server's state directory. It changes nothing.

    With `--probe`, HOST:PORT or coap://HOST:PORT may stand for STATE: then no file of the server is needed.

    Exit status 1: something does not work. Warnings alone leave it at 0, and so does a server that does not run; but
    with `--probe`, the exit status is 3 if the server does not answer.
    """
    if probe and state is None:
        raise click.UsageError("--probe needs STATE or HOST:PORT")
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
    if ADDRESS.fullmatch(state) and not Path(state).exists():
        yield _ask(state if state.startswith("coap://") else f"coap://{state}")
    else:
        from dpe_server.operation.state_dir import StateDir

        yield _ask(_uri_of(StateDir.open(state)))


def examine(state: str | None) -> Iterator[Finding]:
    """Yield the findings, in the order in which they depend on each other."""
    from dpe_server.operation.state_dir import StateDir
    from dpe_server.operators import health

    if state is None:
        yield from health.programs()
        yield Finding("ok", "no STATE given: nothing of a server was looked at")
        return
    yield from health.examine(state, working=Working)
    with suppress(DpeError):  # which is among the findings
        yield _ask(_uri_of(StateDir.open(state)))


def _uri_of(opened: "StateDir") -> str:
    """Return where a server says that it listens or, if it says nothing, where devices come to."""
    from dpe_server.operation import loaded

    return next((_reachable(uri) for process in loaded.read(opened) for uri in process.uris), opened.config.uri)


def _ask(uri: str) -> Finding:
    """Ask a server for its resources."""
    from dpe_tools.probe import discover

    try:
        with Working("asking the server"):
            answer = discover(uri, PROBE_SECONDS)
    except NoAnswer as error:
        return Finding("warn", str(error), error.hint)
    if answer.code == Code.SERVICE_UNAVAILABLE:  # a CoAP server that has too much to do, and will be asked again
        return Finding("ok", f"{uri} answers that it is busy ({answer.said})")
    if answer.code in (Code.UNAUTHORIZED, Code.BAD_OPTION, Code.FORBIDDEN):
        return Finding(
            "fail",
            f"{uri} does not say what it offers ({answer.said})",
            "it may be a server that takes protected requests only (OSCORE); a DPE Server tells everybody",
        )
    if answer.code != Code.CONTENT or RESOURCE_TYPE.encode() not in answer.payload:
        return Finding("fail", f"{uri} answers, but is no DPE Server", "another CoAP server has the port; change `uri`")
    return Finding("ok", f"{uri} answers and offers {RESOURCE_TYPE}")


def _reachable(uri: str) -> str:
    """Return where a server that listens on all addresses can be asked."""
    return uri.replace("coap://0.0.0.0", "coap://127.0.0.1").replace("coap://[::]", "coap://[::1]")
