"""keys.json: the text in which the server keeps its long-term keys."""

import json
from typing import Any

from dpe_coap.errors import LocalError
from dpe_coap.keys import KEY_SIZE
from dpe_server.keys.ring import FIRST_GENERATION, LAST_GENERATION, KeyRing


class KeyFileError(LocalError):
    """keys.json is not as it must be. Holds no key."""


def text_of(keys: KeyRing) -> str:
    """Return the text of a keys.json: keys in hex, by generation."""
    rings = {
        kind: {str(generation): key.hex() for generation, key in sorted(ring.items())}
        for kind, ring in (("master", keys.master), ("handle", keys.handle))
    }
    return json.dumps({**rings, "at_rest": keys.at_rest.hex()}, indent=2) + "\n"


def parse(text: str, source: str = "keys.json") -> KeyRing:
    """Read the text of a keys.json; KeyFileError names the entry at fault."""
    try:
        values = json.loads(text, object_pairs_hook=_once)
        if not isinstance(values, dict) or set(values) != {"master", "handle", "at_rest"}:
            raise _FaultError("expected the entries master, handle and at_rest and no other")
        return KeyRing(
            _ring("master", values["master"]), _ring("handle", values["handle"]), _key("at_rest", values["at_rest"])
        )
    except _FaultError as error:
        fault = str(error)
    except (ValueError, RecursionError):  # its text holds keys
        fault = "not JSON"
    raise KeyFileError(
        f"{source}: {fault}", hint="restore the file from a backup: the devices depend on these very keys"
    )


class _FaultError(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise _FaultError("an entry is there twice")
    return dict(pairs)


def _ring(name: str, value: object) -> dict[int, bytes]:
    generations = {str(number): number for number in range(FIRST_GENERATION, LAST_GENERATION + 1)}
    if not isinstance(value, dict) or not value or not set(value) <= set(generations):
        raise _FaultError(f"{name}: expected keys by generation, {FIRST_GENERATION} to {LAST_GENERATION}")
    return {generations[number]: _key(f"{name}.{number}", key) for number, key in value.items()}


def _key(name: str, value: object) -> bytes:
    try:
        key = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        key = b""
    if len(key) != KEY_SIZE:
        raise _FaultError(f"{name}: expected {KEY_SIZE} bytes in hex")
    return key
