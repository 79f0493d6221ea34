"""The server's configuration: what config.toml may say, strictly. A key that would have no effect is an error."""

import json
import socket
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from dpe_coap.errors import LocalError
from dpe_coap.numbers import MAX_SECONDS
from dpe_server.files.shown import shown_key
from dpe_server.files.toml_lines import lines_of
from dpe_server.files.uris import uri_fault
from dpe_server.store.opening import shared_fault

MAX_REALM = 64
"""Bytes of UTF-8."""
MAX_NODE = 64
"""Bytes of UTF-8."""
ONE_MACHINE = "one machine"
"""What ``durability`` may say."""

_TEMPLATE = """\
# Configuration of this DPE Server. It is read when the server starts.

# The name of the server cluster. Devices are provisioned with it: once there are any, do not change it.
realm = {realm}

# Where devices find this server; written into their credentials.
uri = {uri}

# Where the server listens; without this line on the loopback addresses, port 5683. To serve other machines:
# listen = ["0.0.0.0:5683", "[::]:5683"]

# Seconds after which a device tries again when the server cannot register it now.
retry_after = 60

# Seconds after which nothing is left in the store of a session that has ended, at least 3600. Its keys, its Client ID
# and its profile go at once; the hash of its device refuses what comes late.
retention = 3600

# The most megabytes that the audit log takes, and in how many files. 0 megabytes: another program rotates it.
audit_megabytes = 256
audit_files = 4

# Percent of the file system that the audit log leaves free, at most 1 GiB: below that, it stops and counts.
audit_least_free = 5
"""
_SHARED = """
# The PostgreSQL database that all nodes share. It wants a synchronous standby. A password is not written here, but in
# the file that PGPASSFILE names.
store = {store}

# This node's name among them.
node = {node}
"""
_ONE_MACHINE = """
# Without a synchronous standby: what the database's machine loses is lost.
durability = "one machine"
"""


class ConfigError(LocalError):
    """config.toml is not as it must be; ``line`` (from 1) and ``key`` say where, if it has a place."""

    def __init__(self, fault: str, *, source: str, line: int | None = None, key: str | None = None) -> None:
        self.line = line
        self.key = key
        place = source if line is None else f"{source}:{line}"
        super().__init__(f"{place}: {fault}" if key is None else f"{place}: {key}: {fault}")


@dataclass(frozen=True, slots=True)
class Config:
    """The values of config.toml."""

    realm: str
    """The cluster's name, 1 to 64 bytes of UTF-8."""
    uri: str
    """Where devices find the server: ``coap://HOST[:PORT]``."""
    listen: tuple[str, ...] = ()
    """Where the server listens, ``HOST:PORT`` each; empty: on the loopback addresses."""
    retry_after: int = 60
    """Seconds a device is told to wait when the server cannot register it now."""
    retention: int = 3600
    """Seconds that the trace of a session is kept after its end; ``contract.TRACE``, if that is longer."""
    audit_megabytes: int = 256
    """MiB that the audit log takes at most, all its files together; 0: the server does not rotate it."""
    audit_files: int = 4
    """How many files the audit log has at most, the current one included."""
    audit_least_free: int = 5
    """Percent of its file system that the audit log leaves free."""
    store: str = field(default="", repr=False)
    """The URL of the database that several servers share; empty: the state directory has the store, in SQLite."""
    node: str = ""
    """This server's name among those that share the store."""
    durability: str = ""
    """ONE_MACHINE: the shared store may be without a synchronous standby."""


def template(realm: str, uri: str, *, store: str = "", node: str = "", one_machine: bool = False) -> str:
    """Return the text of a new config.toml."""
    text = _TEMPLATE.format(realm=_toml(realm), uri=_toml(uri))
    if store:
        text += _SHARED.format(store=_toml(store), node=_toml(node))
    return text + (_ONE_MACHINE if one_machine else "")


def host_name() -> str:
    """Return the name of a node to which its operator has given none: that of its machine."""
    name = socket.gethostname()
    return "node" if node_fault(name) else name


def changed(text: str, values: Mapping[str, str], source: str = "config.toml") -> str:
    """Return the text of a config.toml with other values of some keys, which may be new; ConfigError."""
    before = parse(text, source)
    lines, places = text.splitlines(), lines_of(text)
    new = [f"{key} = {_toml(value)}" for key, value in values.items() if (key,) not in places]
    for key, value in values.items():
        if (key,) in places:
            lines[places[key,] - 1] = f"{key} = {_toml(value)}"
    made = "\n".join([*lines, *new]) + "\n"
    with suppress(ConfigError):
        if parse(made, source) == replace(before, **values):  # type: ignore[arg-type]
            return made
    raise ConfigError("write each of the keys " + ", ".join(values) + " on one line", source=source)


def _toml(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def parse(text: str, source: str = "config.toml") -> Config:
    """Read the text of a config.toml; ConfigError names the line and the key."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}", source=source) from None
    except (RecursionError, ValueError):
        raise ConfigError("not TOML: nested too deeply, or a number too long", source=source) from None
    for key, value in values.items():
        line = lines_of(text).get((key,))
        if key not in _CHECKS:
            fault = f"unknown key; known are {', '.join(_CHECKS)}"
            raise ConfigError(fault, source=source, line=line, key=shown_key(key))
        if fault := _CHECKS[key](value):
            raise ConfigError(fault, source=source, line=line, key=key)
    for key in ("realm", "uri"):
        if key not in values:
            raise ConfigError("is missing", source=source, key=key)
    for key in ("node", "durability"):
        if key in values and "store" not in values:
            raise ConfigError(
                "it has no effect without the key `store`", source=source, line=lines_of(text).get((key,)), key=key
            )
    if "listen" in values:
        values["listen"] = tuple(values["listen"])
    if "store" in values:
        values.setdefault("node", host_name())
    return Config(**values)


def realm_fault(value: object) -> str | None:
    """Return why ``value`` cannot be a realm, or None."""
    if not isinstance(value, str) or not value.isprintable() or not 1 <= len(value.encode()) <= MAX_REALM:
        return f"expected a name of 1 to {MAX_REALM} bytes"
    return None


def node_fault(value: object) -> str | None:
    """Return why ``value`` cannot be the name of a node, or None."""
    if not isinstance(value, str) or not value.isprintable() or not 1 <= len(value.encode()) <= MAX_NODE:
        return f"expected a name of 1 to {MAX_NODE} bytes"
    return None


def _durability_fault(value: object) -> str | None:
    return None if value == ONE_MACHINE else f'expected "{ONE_MACHINE}"; without this line, a standby must have all'


def _listen_fault(value: object) -> str | None:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        return 'expected a list of addresses, as in ["127.0.0.1:5683"]'
    return "an address is there twice" if len(set(value)) < len(value) else None


def _number_fault(what: str, least: int, most: int) -> Any:
    def fault(value: object) -> str | None:
        if type(value) is not int or not least <= value <= most:
            return f"expected a whole number{what} from {least} to {most}"
        return None

    return fault


_CHECKS = {
    "realm": realm_fault,
    "uri": uri_fault,
    "listen": _listen_fault,
    "retry_after": _number_fault(" of seconds", 1, MAX_SECONDS),
    "retention": _number_fault(" of seconds", 0, MAX_SECONDS),
    "audit_megabytes": _number_fault("", 0, 1_000_000),
    "audit_files": _number_fault("", 2, 100),
    "audit_least_free": _number_fault(" of percent", 0, 50),
    "store": shared_fault,
    "node": node_fault,
    "durability": _durability_fault,
}
