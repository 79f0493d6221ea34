"""A program that follows what devices report, as an operator may write one: python consumer.py STATE FILE [--follow].

It keeps what `dpe properties --json` tells in the SQLite database FILE, each line together with the cursor that came
with it, and goes on from there when it is started again. ``following.py`` kills it.
"""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import Any

TABLES = """
CREATE TABLE IF NOT EXISTS device (client_id TEXT PRIMARY KEY, properties TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), cursor TEXT NOT NULL);
"""


def apply(kept: sqlite3.Connection, line: dict[str, Any]) -> None:
    """Keep what one line tells, and where to go on after it."""
    if line.get("snapshot") == "begin":
        kept.execute("DELETE FROM device")
        kept.execute("DELETE FROM place")
    if "client_id" in line:
        kept.execute("DELETE FROM device WHERE client_id = ?", (line["client_id"],))
        if line.get("properties"):
            kept.execute("INSERT INTO device VALUES (?, ?)", (line["client_id"], json.dumps(line["properties"])))
    if "cursor" in line:
        kept.execute("INSERT OR REPLACE INTO place VALUES (1, ?)", (line["cursor"],))


def follow(state: str, path: str, *options: str) -> int:
    """Follow until `dpe properties` ends, and return its exit status."""
    with closing(sqlite3.connect(path, isolation_level=None)) as kept:
        kept.execute("PRAGMA synchronous = OFF")  # it is killed, but the machine is not
        kept.executescript(TABLES)
        place = kept.execute("SELECT cursor FROM place").fetchone()
        since = ["--since", place[0]] if place else []
        command = [sys.executable, "-m", "dpe_tools", "properties", state, "--json", "--interval", "0.05"]
        with subprocess.Popen([*command, *since, *options], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                kept.execute("BEGIN")
                with kept:
                    apply(kept, json.loads(line))
    return process.returncode


if __name__ == "__main__":
    sys.exit(follow(*sys.argv[1:]))
