"""The server's configuration: what config.toml may say, strictly. A key that would have no effect is an error."""

import json
import tomllib
from dataclasses import dataclass
from typing import Any

from dpe_coap.errors import LocalError
from dpe_coap.numbers import MAX_SECONDS
from dpe_server.files.shown import shown_key
from dpe_server.files.toml_lines import lines_of
from dpe_server.files.uris import uri_fault

MAX_REALM = 64
"""Bytes of UTF-8."""

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

# Percent of the file system that the audit log leaves free: below that, it stops and counts.
audit_least_free = 5
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


def template(realm: str, uri: str) -> str:
    """Return the text of a new config.toml."""
    return _TEMPLATE.format(realm=json.dumps(realm, ensure_ascii=False), uri=json.dumps(uri))


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
    if "listen" in values:
        values["listen"] = tuple(values["listen"])
    return Config(**values)


def realm_fault(value: object) -> str | None:
    """Return why ``value`` cannot be a realm, or None."""
    if not isinstance(value, str) or not value.isprintable() or not 1 <= len(value.encode()) <= MAX_REALM:
        return f"expected a name of 1 to {MAX_REALM} bytes"
    return None


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
}
