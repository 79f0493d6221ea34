"""The `dpe` command: the group, whose commands load when they are called, and the boundary where errors become text.

Exit status: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import click

from dpe_coap.errors import DpeError

# Name -> module below dpe_tools.commands and help line, so that `dpe --help` needs to load none of them.
COMMANDS = {
    "demo": ("demo", "Register a device against a throw-away server and show every message."),
    "init": ("init", "Create a server's state directory with fresh keys."),
    "serve": ("serve", "Run the DPE Server."),
    "provision": ("provision", "Make the credentials that devices register with."),
    "revoke": ("revoke", "Refuse a device, or all its credentials below an epoch."),
    "register": ("register", "Register a device and print its Client ID."),
    "message": ("message", "Write REQUEST or SUCCESS bytes for other CoAP clients."),
    "inspect": ("inspect", "Explain a message byte by byte and verify its security token."),
    "sessions": ("sessions", "List the live DPE sessions."),
    "device": ("device", "Answer which device holds a Client ID."),
    "policy": ("policy", "Check a policy file or explain its answer."),
    "keys": ("keys", "List, rotate and retire a server's keys."),
    "doctor": ("doctor", "Check an installation and say what to repair."),
}


class Group(click.Group):
    """A click group that imports a command's module when the command is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order a new user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the command's module and return its command, which has the module's name."""
        if name not in COMMANDS:
            return None
        module = COMMANDS[name][0]
        command = getattr(importlib.import_module(f"dpe_tools.commands.{module}"), module)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and leave the process with its exit status."""
        with boundary() if standalone_mode else nullcontext():
            result = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        if standalone_mode:
            sys.exit(result if isinstance(result, int) else 0)
        return result


@contextmanager
def boundary() -> Iterator[None]:
    """Turn the errors a user can cause into an `error` and a `hint` line and an exit status."""
    try:
        yield
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except DpeError as error:
        fail(str(error), error.hint)
    except BrokenPipeError:
        sys.stdout = None  # nobody reads it: nothing is left to flush
        sys.exit(1)
    except OSError as error:
        if error.strerror is None:
            raise
        fail(error.strerror if error.filename is None else f"{error.filename}: {error.strerror}")


def fail(message: str, hint: str = "") -> None:
    """Print the error and the hint on standard error and exit 1."""
    click.echo(f"dpe: error: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    sys.exit(1)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]}, epilog="New here? Try: dpe demo")
@click.version_option(package_name="dpe-coap", prog_name="dpe", message="%(prog)s %(version)s")
def main() -> None:
    """Registration of OMA Device Profile Evolution (DPE-1) over CoAP."""
