"""The `dpe` command: the group, whose commands load when they are called, and the boundary where errors become text."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import pairwise
from typing import Any

import click

from dpe_coap.errors import DpeError
from dpe_tools.exits import Exit, status_of
from dpe_tools.lazy import VARIABLE, LazyGroup

COMMANDS = {
    "demo": ("dpe_tools.commands.demo", "Register a device against a throw-away server and show every message."),
    "init": ("dpe_tools.commands.init", "Create a server's state directory with fresh keys."),
    "serve": ("dpe_tools.commands.serve", "Run the DPE Server."),
    "provision": ("dpe_tools.commands.provision", "Make the credentials that devices register with."),
    "revoke": ("dpe_tools.commands.revoke", "Refuse a device, or all its credentials below an epoch."),
    "unrevoke": ("dpe_tools.commands.unrevoke", "Let a revoked device register again."),
    "register": ("dpe_tools.commands.register", "Register a device and print its Client ID."),
    "session": ("dpe_tools.commands.session", "Speak as a registered device: report, get, end."),
    "message": ("dpe_tools.commands.message", "Write a device's messages for another CoAP client to send."),
    "inspect": ("dpe_tools.commands.inspect", "Explain a message byte by byte, verify it, open what is protected."),
    "sessions": ("dpe_tools.commands.sessions", "List the live DPE sessions, or end some of them."),
    "properties": ("dpe_tools.commands.properties", "Print what devices have reported, and follow what changes."),
    "device": ("dpe_tools.commands.device", "Show which device holds a Client ID, or forget a device."),
    "policy": ("dpe_tools.commands.policy", "Check a policy, explain it, or set it for a device."),
    "keys": ("dpe_tools.commands.keys", "List, rotate and retire a server's keys."),
    "access": ("dpe_tools.commands.access", "Create, list and revoke access tokens of the HTTP API."),
    "nodes": ("dpe_tools.commands.nodes", "List the servers that share a store, or forget one."),
    "store": ("dpe_tools.commands.store", "Move a server's sessions into a database that several servers share."),
    "backup": ("dpe_tools.commands.backup", "Copy a server's database while it runs."),
    "restore": ("dpe_tools.commands.restore", "Put a backup back."),
    "recover": ("dpe_tools.commands.recover", "Make a database that was put back fit to serve."),
    "top": ("dpe_tools.commands.top", "Show what a running server does just now."),
    "doctor": ("dpe_tools.commands.doctor", "Check an installation and say what to repair."),
    "web": ("dpe_tools.commands.web", "Show what a server does, on a page for a browser."),
    "load": ("dpe_tools.commands.load", "Register many simulated devices at once and measure how it goes."),
    "simulate": (
        "dpe_tools.commands.simulate",
        "Run devices and servers through simulated trouble, seed by seed.",
    ),
    "completion": ("dpe_tools.commands.completion", "Print what makes a shell complete the commands."),
    "bench": ("dpe_tools.commands.bench", "Measure the client and the server beside their peers (needs a checkout)."),
}


class Group(LazyGroup):
    """The group of all commands, in the order in which a new user meets them. Ends the process with an exit status."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and end the process with its exit status."""
        words = sys.argv[1:] if args is None else list(args)
        with boundary(as_json=wants_json(words)) if standalone_mode else nullcontext():
            try:
                result = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
            finally:
                sys.stdout.flush()  # here an error of it has an exit status, and at the end of Python none
        if standalone_mode:
            sys.exit(result if isinstance(result, int) else 0)
        return result


@contextmanager
def boundary(*, as_json: bool = False) -> Iterator[None]:
    """Turn an error that a user can cause into an `error` line, a `hint` line and an exit status.

    With ``as_json``, a JSON object on a line of standard output says the same.
    """
    try:
        yield
    except click.ClickException as error:
        if VARIABLE not in os.environ:
            error.show()
        _end(error.format_message(), "", error.exit_code, as_json)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(Exit.INTERRUPTED)
    except DpeError as error:
        fail(str(error), error.hint, status_of(error), as_json=as_json)
    except OSError as error:
        if error.strerror is None:
            raise
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
        fail(text, as_json=as_json)


def fail(message: str, hint: str = "", status: int = Exit.FAILED, *, as_json: bool = False) -> None:
    """Print the error and the hint on standard error, and exit. A shell that only asks what to offer is not told."""
    if VARIABLE not in os.environ:
        click.echo(f"dpe: error: {message}", err=True)
        if hint:
            click.echo(f"hint: {hint}", err=True)
    _end(message, hint, status, as_json)


def _end(message: str, hint: str, status: int, as_json: bool) -> None:
    if as_json:
        with suppress(OSError):  # it may be standard output that has failed
            click.echo(json.dumps({"error": {"message": message, "hint": hint, "status": int(status)}}))
    sys.exit(status)


def wants_json(words: Sequence[str]) -> bool:
    """Return whether a command line asks for JSON on standard output."""
    before = words[: words.index("--")] if "--" in words else words
    if list(before[:1]) == ["load"]:  # it names a file
        return "--json=-" in before or ("--json", "-") in pairwise(before)
    return "--json" in before


@click.group(
    cls=Group,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="New here? Try: dpe demo",
)
@click.version_option(package_name="dpe-coap", prog_name="dpe", message="%(prog)s %(version)s")
def main() -> None:
    """Registration of OMA Device Profile Evolution (DPE-1) over CoAP."""
