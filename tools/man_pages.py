"""The manual pages, made from click's own objects: dpe.1, and one for each command with its subcommands.

Used by tools/generate.py. The pages are in the language of man(7), which every system's `man` reads.
"""

import re
from collections.abc import Iterator
from inspect import cleandoc

import click

import cli_page
from dpe_tools.cli import COMMANDS, main
from dpe_tools.exits import Exit

LEFT_OUT = {"bench"}
"""Commands that only a checkout has."""


def pages() -> dict[str, str]:
    """Return the text of each page by its file name."""
    context = click.Context(main, info_name="dpe")
    made = {"dpe.1": _first(context)}
    for name in COMMANDS:
        if name not in LEFT_OUT:
            command = main.get_command(context, name)
            assert command is not None
            made[f"dpe-{name}.1"] = _page(name, command, click.Context(command, info_name=name, parent=context))
    return made


def _first(context: click.Context) -> str:
    lines = _head("dpe", cli_page.short(main))
    lines += [".SH SYNOPSIS", ".B dpe", "[\\fB\\-\\-version\\fR] [\\fB\\-h\\fR] \\fICOMMAND\\fR [\\fIARGS\\fR]..."]
    lines += [".SH DESCRIPTION", *_prose(main.help or ""), ".PP", "Each command has a page of its own.", ".SH COMMANDS"]
    for name, (_, text) in COMMANDS.items():
        lines += [".TP", f"\\fBdpe {name}\\fR" if name in LEFT_OUT else f"\\fBdpe\\-{name}\\fR(1)", _text(text)]
    lines += _statuses()
    lines += [".SH ENVIRONMENT", ".TP", ".B NO_COLOR", "If it is set to anything, nothing is coloured."]
    lines += [".SH EXAMPLES", ".TP", ".B dpe demo", "Shows devices and a throw\\-away server on this machine."]
    return _joined(lines)


def _page(name: str, command: click.Command, context: click.Context) -> str:
    lines = _head(f"dpe-{name}", cli_page.short(command))
    whole = [(f"dpe {name}", command, context)]
    if isinstance(command, click.Group):
        parts = list(cli_page.walk(command, context))
        lines += [".SH SYNOPSIS", *(line for one in parts for line in _synopsis(*one))]
        lines += [".SH DESCRIPTION", *_prose(command.help or "")]
        for title, part, inner in parts:
            lines += [f'.SH "{_text(title.removeprefix("dpe ")).upper()}"', *_prose(part.help or "")]
            lines += _parameters(part, inner, heading=".PP")
    else:
        lines += [".SH SYNOPSIS", *_synopsis(*whole[0])]
        lines += [".SH DESCRIPTION", *_prose(command.help or "")]
        lines += _parameters(command, context, heading=".SH OPTIONS")
    return _joined([*lines, *_statuses(), ".SH SEE ALSO", ".BR dpe (1)"])


def _head(name: str, short: str) -> list[str]:
    title = name.upper().replace("-", "\\-")
    return [
        '.\\" Made from the commands themselves by tools/generate.py; do not edit.',
        f'.TH {title} 1 "" "dpe\\-coap" "dpe\\-coap"',
        ".SH NAME",
        f"{_text(name)} \\- {_text(short.rstrip('.'))}",
    ]


def _synopsis(title: str, command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"\\fB{_text(title)}\\fR {_text(usage)}"
    yield ".br"


def _parameters(command: click.Command, context: click.Context, heading: str) -> Iterator[str]:
    entries: list[tuple[str, str]] = []
    for one in command.params:
        if isinstance(one, click.Argument):
            name = one.make_metavar(context)
            entries.append((f"\\fI{_text(name)}\\fR", cli_page.meaning_of(one, context)))
        elif isinstance(one, click.Option) and not one.hidden:
            names, _, value = cli_page.names(one).partition(" ") if not one.is_flag else (cli_page.names(one), "", "")
            shown = f"\\fB{_text(names)}\\fR" + (f" \\fI{_text(value)}\\fR" if value else "")
            entries.append((shown, cli_page.explained(one, context)))
    if entries:
        yield heading
    for shown, meaning in entries:
        yield from (".TP", shown, _text(meaning))


def _statuses() -> Iterator[str]:
    yield ".SH EXIT STATUS"
    for status in Exit:
        yield from (".TP", f"\\fB{status.value}\\fR", _text(status.meaning))


def _prose(help_text: str) -> Iterator[str]:
    """Yield a command's help. A paragraph that click must not wrap becomes a block."""
    for number, paragraph in enumerate(cleandoc(help_text).split("\n\n")):
        if number:
            yield ".PP"
        if paragraph.startswith("\b\n"):
            intro, *rest = paragraph.removeprefix("\b\n").splitlines()
            yield from (_text(intro), ".PP", ".RS", ".nf", *(_text(line.strip()) for line in rest), ".fi", ".RE")
        else:
            yield from map(_text, paragraph.splitlines())


def _text(text: str) -> str:
    """Return text that nothing in it turns into a request of man(7); what is in backticks becomes bold."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    escaped = escaped.replace("'", "\\(aq")
    escaped = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", escaped)
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
