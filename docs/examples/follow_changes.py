"""Keeps what all devices report in a SQLite file, and goes on where it was, whatever has ended meanwhile.

    python follow_changes.py http://127.0.0.1:8064/api/v1 kept.sqlite

It needs nothing but Python. The access token comes in the variable DPE_ACCESS_TOKEN; a reader's is enough. With --once
it ends when it has all that there is by now. It may be killed at any time: what a change says, and the cursor that came
with it, are kept in one transaction.
"""

import http.client
import json
import os
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

TABLES = """
CREATE TABLE IF NOT EXISTS device (client_id TEXT PRIMARY KEY, properties TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), cursor TEXT NOT NULL);
"""
SILENT = 45
"""Seconds without a line, after which a stream is dead: one comes every 15 s at least."""
PAUSE = 1.0
"""Seconds before it asks again."""


class Refused(Exception):
    """The server does not let this program in, or does not know what it asks for."""


def keep(kept: sqlite3.Connection, change: dict[str, Any]) -> None:
    """Keep what one change says, and where to go on after it."""
    kept.execute("BEGIN")
    with kept:  # commits
        if change.get("snapshot") == "begin":
            kept.execute("DELETE FROM device")
            kept.execute("DELETE FROM place")
        if "client_id" in change:
            kept.execute("DELETE FROM device WHERE client_id = ?", (change["client_id"],))
            if change.get("properties"):
                row = change["client_id"], json.dumps(change["properties"])
                kept.execute("INSERT INTO device VALUES (?, ?)", row)
        if "cursor" in change:
            kept.execute("INSERT OR REPLACE INTO place VALUES (1, ?)", (change["cursor"],))


def asked(api: str, kept: sqlite3.Connection, accept: str) -> urllib.request.Request:
    """Return the request for what comes after what is kept."""
    headers = {"Authorization": f"Bearer {os.environ['DPE_ACCESS_TOKEN']}", "Accept": accept}
    place = kept.execute("SELECT cursor FROM place").fetchone()
    if place:
        headers["Last-Event-ID"] = place[0]
    return urllib.request.Request(f"{api}/changes", headers=headers)


def events(lines: Iterable[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events of a stream: their kind and their data."""
    kind, data = "", ""
    for line in lines:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            data = value
        elif not name and data:
            yield kind, json.loads(data)
            kind, data = "", ""


def follow(api: str, kept: sqlite3.Connection) -> None:
    """Keep what comes until the stream ends; OSError, HTTPException."""
    with urllib.request.urlopen(asked(api, kept, "text/event-stream"), timeout=SILENT) as stream:
        for kind, data in events(stream):
            if kind == "problem":
                if data["status"] == 410:
                    forget_place(kept)
                return
            keep(kept, data)


def catch_up(api: str, kept: sqlite3.Connection) -> None:
    """Keep all that there is by now; OSError, HTTPException."""
    more = True
    while more:
        with urllib.request.urlopen(asked(api, kept, "application/json"), timeout=SILENT) as answer:
            part = json.load(answer)
        for change in part["changes"]:
            keep(kept, change)
        keep(kept, {"cursor": part["cursor"]})
        more = part["more"]


def forget_place(kept: sqlite3.Connection) -> None:
    """Begin anew with the next request: what was kept is void when that begins."""
    kept.execute("DELETE FROM place")


def main(api: str, path: str, *options: str) -> None:
    """Follow for ever, or once; Refused."""
    once = "--once" in options
    with closing(sqlite3.connect(path, isolation_level=None)) as kept:
        kept.executescript(TABLES)
        while True:
            try:
                (catch_up if once else follow)(api, kept)
                if once:
                    return
            except urllib.error.HTTPError as error:
                problem = json.load(error)
                if error.code == 410:
                    forget_place(kept)
                    continue
                if error.code not in (429, 503):
                    raise Refused(f"{problem['detail']}; {problem['hint']}") from None
            except (OSError, http.client.HTTPException) as error:
                print(f"{error}; trying again", file=sys.stderr)
            time.sleep(PAUSE)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Refused as error:
        sys.exit(f"refused: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
