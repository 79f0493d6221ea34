"""`dpe properties`: what all devices report, for programs that follow it."""

import json
import time
from collections.abc import Callable, Iterable
from contextlib import closing

import click

from dpe_coap.client_ids import client_id_text
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators.following import Begin, Cursor, News, Upto, everything, in_json, since
from dpe_server.operators.sessions import in_words
from dpe_server.operators.times import moment
from dpe_server.policy import Vocabulary
from dpe_server.store.contract import StoreError
from dpe_server.store.record import entries
from dpe_tools import streams
from dpe_tools.properties import vocabulary_of
from dpe_tools.session_list import AT_ONCE

Text = Callable[[News | Upto | Begin], str]
"""Makes a line, or nothing of what has none."""


def parse_cursor(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Cursor | None:
    """Read the option --since. Raises BadParameter if it is no cursor."""
    try:
        return None if value is None else Cursor.parse(value)
    except ValueError:
        raise click.BadParameter("not a cursor, as this command prints it: 0123456789abcdef-42") from None


@click.command()
@click.argument("state")
@click.option("--since", "cursor", callback=parse_cursor, metavar="CURSOR", help="Only what has changed since then.")
@click.option("--follow", is_flag=True, help="Go on with what changes from now on, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(0.05, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often --follow looks for changes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON objects, one a line.")
def properties(state: str, cursor: Cursor | None, follow: bool, interval: float, as_json: bool) -> None:
    """Print what the devices of STATE have reported, and with --since or --follow what changes.

    A line has all that one device has reported, or says that its session has ended. Whoever keeps what the lines say
    may go on after a cursor at any time within 7 days: then nothing is missing, and some may come twice. Of values that
    were overwritten meanwhile, only the last comes. Without --since, all devices come first, and whatever was kept
    before is void.

    Exit status 1: the changes since CURSOR are not kept any more, or the database was put back or recovered. Begin
    anew without --since.
    """
    opened = StateDir.open(state)
    out = Out((json_text if as_json else words)(vocabulary_of(opened)), cursor)
    silent = False
    with closing(opened.open_store()) as store:
        try:
            if cursor is None:
                out.tell(everything(store, int(time.time())))
            while out.is_read():
                assert out.cursor is not None
                try:
                    out.tell(since(store, out.cursor))
                    silent = False
                except StoreError as error:
                    if not follow:
                        raise
                    if not silent:  # a database elsewhere may be moving to another machine
                        click.echo(f"dpe: warning: {error}; trying again", err=True)
                    silent = True
                if not follow:
                    break
                time.sleep(interval)
        except KeyboardInterrupt:
            if not follow:
                raise
    if not as_json and out.is_read():
        click.echo(f"cursor {out.cursor}" if out.cursor else "nothing is told as a whole; begin anew")


class Out:
    """Prints what is told, some lines at once, and knows where to go on after it."""

    def __init__(self, text: Text, cursor: Cursor | None) -> None:
        self._text = text
        self.cursor = cursor
        """None until everything is told."""

    def is_read(self) -> bool:
        """Whether there is a reader."""
        return streams.is_read()

    def tell(self, news: Iterable[News | Upto | Begin]) -> None:
        """Print all that is told, while somebody reads."""
        lines: list[str] = []
        for one in news:
            if line := self._text(one):
                lines.append(line + "\n")
            if not isinstance(one, Begin) and one.cursor is not None:
                self.cursor = one.cursor
            if len(lines) >= AT_ONCE:
                click.echo("".join(lines), nl=False)
                lines.clear()
                if not self.is_read():
                    return
        click.echo("".join(lines), nl=False)


def json_text(vocabulary: Vocabulary) -> Text:
    """Return what makes JSON objects."""
    return lambda one: json.dumps(in_json(one, vocabulary))


def words(vocabulary: Vocabulary) -> Text:
    """Return what makes lines for a person."""
    told = in_words(vocabulary)

    def text(one: News | Upto | Begin) -> str:
        if not isinstance(one, News):
            return ""
        if one.record is None:
            what = "ended"
        else:
            found = entries(one.record)
            what = ", ".join(told(entry.property, entry.value) for entry in found) or "nothing any more"
        return f"{moment(one.at)}  {client_id_text(one.client_id)}  {what}"

    return text
