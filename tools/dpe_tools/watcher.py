"""Sees every datagram of the device client for the person who started it."""

import time

import click

from dpe_coap.errors import RemoteError
from dpe_tools import annotate
from dpe_tools.datagram import OSCORE, Datagram, parse

ERROR = 0x80
"""The least CoAP code of an error."""


class Watcher:
    """Shows the datagrams, all of them or those that are sent again, and tells what no device may believe."""

    def __init__(self, *, every: bool, again: bool) -> None:
        self.datagrams = {"sent": 0, "received": 0}
        self.refusal: Datagram | None = None
        """The last error that came without a security token, or without protection."""
        self.last: Datagram
        """The last that was sent."""
        self._every = every
        self._again = again
        self._start = time.monotonic()
        self._sent = b""
        self._told: set[str] = set()

    def sent(self, datagram: bytes, place: str) -> None:
        """Take a datagram that was sent."""
        self.datagrams["sent"] += 1
        self.last = parse(datagram)
        self._show("->", self.last, datagram, "again" if datagram == self._sent else "")
        self._sent = datagram

    def received(self, datagram: bytes, place: str) -> None:
        """Take a datagram that came."""
        self.datagrams["received"] += 1
        try:
            seen = parse(datagram)
        except RemoteError:
            return
        self._show("<-", seen, datagram, "")
        if seen.code >= ERROR and not name_of(seen):
            self.refusal = seen
            self.refused(seen, place)

    def refused(self, seen: Datagram, place: str) -> None:
        """Take an error that proves nothing."""
        self.told(f"{place} answers {seen.said}; trying again")

    def told(self, news: str) -> None:
        """Tell news, once."""
        if news not in self._told:
            self._told.add(news)
            click.echo(f"dpe: {news}", err=True)

    def _show(self, arrow: str, seen: Datagram, data: bytes, note: str) -> None:
        if self._every or (note and self._again):
            passed = time.monotonic() - self._start
            words = f"{passed:7.3f} s {arrow} {len(data):3d} bytes  {seen.title}  {name_of(seen)} {note}"
            click.echo(words.rstrip(), err=True)


def name_of(seen: Datagram) -> str:
    """Return the name of the message in a datagram, or an empty string if it is none; of a protected one: OSCORE."""
    return "OSCORE" if seen.option(OSCORE) is not None else annotate.name_of(seen.payload)
