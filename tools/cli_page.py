"""docs/reference/cli.md, made from click's own objects: every `dpe` command with its arguments and options.

Used by tools/generate.py.
"""

import re
from collections.abc import Iterator
from inspect import cleandoc
from typing import Any

import click

from dpe_tools.cli import main
from dpe_tools.exits import Exit

PAGE = """\
# The `dpe` command

Made from the commands themselves by `tools/generate.py`; a test fails when this page and the commands differ.
`dpe COMMAND --help` shows the same in a terminal, and `dpe --version` the version.

| command | |
|---|---|
{contents}

## Exit statuses

Every command ends with one of these. An error is printed on standard error, with a hint on what to do about it.

| status | when |
|---|---|
{statuses}

SIGTERM and Ctrl-C are the usual ways to end `dpe serve`, so it then ends with 0.

{commands}"""

ARGUMENTS = {
    "OTHER": "a checkout of another commit",
    "STATE": "a server's state directory",
    "FILE": "a copy of the database",
    "STATE|FILE": "a server's state directory, or a policy file",
    "STATE|HOST:PORT": "a server's state directory; with `--probe` also where a server listens",
    "IMEI": "an IMEI of 14, 15 or 16 digits; `-` reads them from standard input",
    "CREDENTIAL": "a device's credential, as a CBOR or a JSON file",
    "CLIENT_ID": "a Client ID, as 14 hex digits",
    "NAME=VALUE": "a property and its value",
    "REPORT": "a TOML file with a table `[report]`, as a rule of the policy has it",
    "FILE|HEX|-": "a file, the message in hex, or `-` for standard input",
    "{master|handle}": "which of the server's keys",
    "KEYS": "the keys.json of another node; `-` reads it from standard input",
    "NAME": "the name of a node, or of an access token",
    "{bash|zsh|fish}": "which shell",
    "EPOCH": "a generation of the master key",
}
"""What the arguments are, which click does not know. A new one must be added here."""


def page() -> str:
    """Return the text of docs/reference/cli.md."""
    found = list(walk(main, click.Context(main, info_name="dpe")))
    return PAGE.format(
        contents="\n".join(f"| [`{name}`](#{anchor(name)}) | {short(command)} |" for name, command, _ in found),
        statuses="\n".join(f"| {status.value} | {status.meaning} |" for status in Exit),
        commands="\n".join(section(*one) for one in found),
    )


def walk(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield the commands of a group and of its groups, each with its full name, in the order of their help."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        yield inner.command_path, command, inner
        if isinstance(command, click.Group):
            yield from walk(command, inner)


def section(name: str, command: click.Command, context: click.Context) -> str:
    """Return what the page says of one command."""
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f"## {name}", "", "```text", f"{name} {usage}", "```", "", *prose(command), ""]
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    if arguments:
        lines += ["| argument | |", "|---|---|", *(argument(one, context) for one in arguments), ""]
    if options:
        lines += ["| option | | default |", "|---|---|---|", *(option(one, context) for one in options), ""]
    return "\n".join(lines)


def prose(command: click.Command) -> list[str]:
    """Return the command's help as Markdown. A paragraph that click must not wrap becomes a block."""
    paragraphs = cleandoc(command.help or "").split("\n\n")
    lines: list[str] = []
    for number, paragraph in enumerate(paragraphs):
        if paragraph.startswith("\b\n"):
            intro, *rest = paragraph.removeprefix("\b\n").splitlines()
            lines += [intro, "", "```text", *(line.strip() for line in rest), "```"]
        else:
            lines += paragraph.splitlines()
        if number < len(paragraphs) - 1:
            lines.append("")
    return lines


def argument(one: click.Argument, context: click.Context) -> str:
    """Return an argument's row."""
    return f"| {code(one.make_metavar(context))} | {cell(meaning_of(one, context))} |"


def meaning_of(one: click.Argument, context: click.Context) -> str:
    """Return what an argument is."""
    meaning = ARGUMENTS[one.make_metavar(context).removesuffix("...").strip("[]")]
    limits = bounds(one.type)
    return f"{meaning}, {limits}" if limits else meaning


def option(one: click.Option, context: click.Context) -> str:
    """Return an option's row: its names, what it does and takes, and the default that the help shows."""
    extra = one.get_help_extra(context)
    default = "required" if one.required else extra.get("default", "").strip("()")
    return f"| {code(names(one))} | {cell(meaning_of_option(one, context))} | {cell(default)} |".replace("|  |", "| |")


def meaning_of_option(one: click.Option, context: click.Context) -> str:
    """Return what an option does and takes."""
    meaning = one.help or ""
    if isinstance(one.type, click.Choice):
        meaning += f" One of {choices(one.type)}."
    elif limits := bounds(one.type):
        meaning += f" {limits[0].upper()}{limits[1:]}."
    extra = one.get_help_extra(context)
    if "envvars" in extra:
        meaning += f" Also taken from {', '.join(map(code, extra['envvars']))}."
    return meaning.strip()


def explained(one: click.Option, context: click.Context) -> str:
    """Return what an option does and takes, and what it is when it is not given."""
    default = one.get_help_extra(context).get("default", "").strip("()")
    more = "It is required." if one.required else f"By default {default}." if default else ""
    return f"{meaning_of_option(one, context)} {more}".strip()


def names(one: click.Option) -> str:
    """Return the names of an option, and the placeholder of its value."""
    return ", ".join([*one.opts, *one.secondary_opts]) + ("" if one.is_flag else f" {one.metavar or value(one.type)}")


def value(kind: "click.ParamType[Any]") -> str:
    """Return the placeholder of a value for which the option itself has none."""
    if isinstance(kind, click.Choice):
        return "NAME"
    if isinstance(kind, click.Path):
        return kind.name.upper()
    return "TEXT" if kind is click.STRING else "N"


def bounds(kind: "click.ParamType[Any]") -> str:
    """Return the range that a number must be in, in words; nothing if there is none."""
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return ""
    if kind.min is None:
        return ""
    if kind.max is not None:
        return f"from {number(kind.min)} to {number(kind.max)}"
    return f"more than {number(kind.min)}" if kind.min_open else f"{number(kind.min)} or more"


def number(value: float) -> str:
    """Return a number as people write it."""
    return f"{value:,}"


def choices(kind: click.Choice[str]) -> str:
    """Return the values that are allowed."""
    return ", ".join(code(choice) for choice in kind.choices)


def short(command: click.Command) -> str:
    """Return the first sentence of the command's help."""
    first = cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ")
    return re.split(r"(?<=[^.]\.) ", first, maxsplit=1)[0]


def anchor(heading: str) -> str:
    """Return the anchor that a Markdown heading gets."""
    return heading.replace(" ", "-")


def code(text: str) -> str:
    """Return text as code, fit for a table."""
    return f"`{cell(text)}`"


def cell(text: str) -> str:
    """Return text that does not end its table cell."""
    return text.replace("|", "\\|")
