"""`dpe doctor`: examines an installation and says what to repair."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

import click

from dpe_coap.binding import RESOURCE_TYPE
from dpe_coap.errors import DpeError
from dpe_server.operation import beats, loaded
from dpe_server.operation.state_dir import StateDir
from dpe_server.policy import load
from dpe_server.store import opening
from dpe_tools import terminal
from dpe_tools.exits import Exit, NoAnswer
from dpe_tools.node_health import Finding, minimum_epoch, shared_store
from dpe_tools.progress import Working

LIBRARIES = ("aiocoap", "cbor2", "cffi", "click", "cryptography", "rich", "structlog")
OLDEST_PYTHON = (3, 11)
OLDEST_SQLITE = (3, 38, 0)
PROBE_SECONDS = 3.0


@click.command()
@click.argument("state", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.option("--probe", is_flag=True, help="Only ask the server of STATE whether it answers, for a health check.")
def doctor(state: str | None, as_json: bool, probe: bool) -> int:
    """Check this installation and, if STATE is given, that server's state directory. It changes nothing.

    Exit status 1: something does not work. Warnings alone leave it at 0, and so does a server that does not run; but
    with `--probe`, the exit status is 3 if the server does not answer.
    """
    if probe and state is None:
        raise click.UsageError("--probe needs STATE")
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
    yield _probe(StateDir.open(state))


def examine(state: str | None) -> Iterator[Finding]:
    """Yield the findings, in the order in which they depend on each other."""
    yield from _programs()
    if state is None:
        yield Finding("ok", "no STATE given: nothing of a server was looked at")
        return

    try:
        opened = StateDir.open(state)
    except DpeError as error:
        yield Finding("fail", str(error), error.hint)
        return
    yield Finding("ok", f"{state}: modes, config.toml and keys.json are as they must be")
    yield Finding("ok", f"realm {opened.config.realm}, devices come to {opened.config.uri}")
    yield from _keys(opened)
    yield from _policy(opened)
    yield from (shared_store(opened) if opened.config.store else _store(opened))
    yield from _loaded(opened)
    yield _probe(opened)


def _programs() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Finding("fail", f"Python {python} is too old", "install Python 3.11 or later")
    else:
        yield Finding("ok", f"Python {python}, dpe-coap {version('dpe-coap')}")
    for name in LIBRARIES:
        try:
            yield Finding("ok", f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding("fail", f"{name} is not installed", f"pip install {name}")
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        yield Finding(
            "fail", f"SQLite {sqlite3.sqlite_version} is too old", "install a Python with SQLite 3.38 or later"
        )
    else:
        yield Finding("ok", f"SQLite {sqlite3.sqlite_version}")


def _keys(opened: StateDir) -> Iterator[Finding]:
    keys = opened.keys
    yield Finding("ok", f"keys: {len(keys.master)} master (epoch {keys.current_epoch}), {len(keys.handle)} handle")


def _policy(opened: StateDir) -> Iterator[Finding]:
    try:
        policy = load(opened.policy_path)
    except DpeError as error:
        yield Finding("fail", str(error), error.hint or "mend the line; see: dpe policy check")
        return
    yield Finding("ok", f"policy: {len(policy.rules)} rules")
    if policy.allow_clear_imei:
        yield Finding("warn", "policy: an IMEI in clear is taken", "allow_clear_imei is for a lab; take it out")


def _store(opened: StateDir) -> Iterator[Finding]:
    try:
        with Working("checking the database"):
            found, newest, faults = opening.examine(opened.store_url)
        if faults:
            yield Finding(
                "fail", f"store: damaged: {faults[0]}", "stop the server and put a backup back: dpe restore STATE FILE"
            )
            return
        if found > newest:
            yield Finding("fail", f"store: schema {found}, newer than this program's {newest}", "update dpe-coap")
            return
        if found < newest:
            yield Finding("warn", f"store: schema {found}", f"dpe serve brings it to {newest}; make a backup before")
            return
        beats.verify(opened)
        yield Finding("ok", f"store: schema {found}, sound, and the one that was served last")
        with closing(opened.open_store()) as store:
            yield from minimum_epoch(store, opened.keys)
    except DpeError as error:
        yield Finding("fail", f"store: {error}", error.hint or "put a backup back: dpe restore STATE FILE")


def _loaded(opened: StateDir) -> Iterator[Finding]:
    hint = loaded.reload_hint(opened)
    for name in loaded.lacking(opened):
        yield Finding("fail", f"the running server has not loaded {name}: it refuses devices that need it", hint)
    now = loaded.Loaded.of(opened, []).files
    processes = loaded.read(opened)
    for name, what in (("policy.toml", hint), ("config.toml", "restart the server")):
        if any(process.files.get(name) != now[name] for process in processes):
            yield Finding("warn", f"{name} has changed since the running server read it", what)


def _probe(opened: StateDir) -> Finding:
    """Ask the server for its resources, where it says that it listens or, if it says nothing, where devices come to."""
    from dpe_tools.probe import discover

    uri = next((_reachable(uri) for process in loaded.read(opened) for uri in process.uris), opened.config.uri)
    try:
        with Working("asking the server"):
            links = discover(uri, PROBE_SECONDS)
    except NoAnswer as error:
        return Finding("warn", str(error), error.hint)
    if RESOURCE_TYPE not in (links or ""):
        return Finding("fail", f"{uri} answers, but is no DPE Server", "another CoAP server has the port; change `uri`")
    return Finding("ok", f"{uri} answers and offers {RESOURCE_TYPE}")


def _reachable(uri: str) -> str:
    """Return where a server that listens on all addresses can be asked."""
    return uri.replace("coap://0.0.0.0", "coap://127.0.0.1").replace("coap://[::]", "coap://[::1]")
