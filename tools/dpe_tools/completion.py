"""What a shell offers while `dpe` is typed: commands and options by click, and files and folders by placeholder."""

import click
from click.shell_completion import CompletionItem, get_completion_class

from dpe_tools.lazy import VARIABLE

FILES = {"FILE", "CREDENTIAL", "REPORT", "FILE|HEX|-"}
FOLDERS = {"STATE", "STATE|HOST:PORT", "DIR", "FROM", "OTHER"}
"""The placeholders of arguments and options that name a file or a folder."""


class _Path(click.ParamType[str]):
    """Text, for which a shell offers what there is."""

    name = "text"

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def shell_complete(
        self, _context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Have the shell complete a path."""
        return [CompletionItem(incomplete, type=self._kind)]


def prepare(command: click.Command) -> None:
    """Have a command's arguments and options, and those of its subcommands, completed by their placeholders."""
    for parameter in command.params:
        name = (parameter.name or "").upper() if isinstance(parameter, click.Argument) else ""
        placeholder = (parameter.metavar or name).removesuffix("...").strip("[]")
        if parameter.type is click.STRING and placeholder in FILES | FOLDERS:
            parameter.type = _Path("dir" if placeholder in FOLDERS else "file")
    for one in getattr(command, "commands", {}).values():
        prepare(one)


def script(shell: str, command: click.Command) -> str:
    """Return what a shell has to read once, so that it asks ``command`` from then on."""
    kind = get_completion_class(shell)
    assert kind is not None
    return kind(command, {}, "dpe", VARIABLE).source()
