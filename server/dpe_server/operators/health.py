"""What is found when an installation is examined, and what to repair."""

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from importlib.metadata import PackageNotFoundError, version

from dpe_coap.errors import DpeError
from dpe_server.operation import beats, loaded
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators.findings import Finding
from dpe_server.operators.node_health import minimum_epoch, shared_store
from dpe_server.policy import load
from dpe_server.store import opening

LIBRARIES = ("aiocoap", "cbor2", "cffi", "click", "cryptography", "rich", "structlog")
OLDEST_PYTHON = (3, 11)
OLDEST_SQLITE = (3, 38, 0)
RESTORE = "put a backup back: dpe restore STATE FILE"

Working = Callable[[str], AbstractContextManager[object]]
"""Shows somebody what is being done, while it is."""


def examine(state: str, *, thorough: bool = True, working: Working = nullcontext) -> Iterator[Finding]:
    """Yield the findings about this installation and a state directory, each after those on which it depends.

    Unless ``thorough``, the database is not read as a whole: that takes seconds for each million sessions.
    """
    yield from programs()
    try:
        opened = StateDir.open(state)
    except DpeError as error:
        yield Finding("fail", str(error), error.hint)
        return
    yield Finding("ok", f"{state}: modes, config.toml and keys.json are as they must be")
    yield Finding("ok", f"realm {opened.config.realm}, devices come to {opened.config.uri}")
    yield from _keys(opened)
    yield from _policy(opened)
    if opened.config.store:
        yield from shared_store(opened)
    elif thorough:
        yield from _store(opened, working)
    else:
        yield from _opened_store(opened)
    yield from _loaded(opened)


def programs() -> Iterator[Finding]:
    """Yield what is found of this installation."""
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


def _store(opened: StateDir, working: Working) -> Iterator[Finding]:
    try:
        with working("checking the database"):
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
    except DpeError as error:
        yield Finding("fail", f"store: {error}", error.hint or RESTORE)
        return
    yield from _opened_store(opened)


def _opened_store(opened: StateDir) -> Iterator[Finding]:
    try:
        with closing(opened.open_store()) as store:
            yield from minimum_epoch(store, opened.keys)
    except DpeError as error:
        yield Finding("fail", f"store: {error}", error.hint or RESTORE)


def _loaded(opened: StateDir) -> Iterator[Finding]:
    hint = loaded.reload_hint(opened)
    for name in loaded.lacking(opened):
        yield Finding("fail", f"the running server has not loaded {name}: it refuses devices that need it", hint)
    now = loaded.Loaded.of(opened, []).files
    processes = loaded.read(opened)
    for name, what in (("policy.toml", hint), ("config.toml", "restart the server")):
        if any(process.files.get(name) != now[name] for process in processes):
            yield Finding("warn", f"{name} has changed since the running server read it", what)
