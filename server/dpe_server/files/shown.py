"""How errors show what somebody wrote in a file: printable and short."""

import json

LONGEST = 80
"""Characters of a key or a value."""


def shown_key(key: str) -> str:
    """Return a key as an error shows it."""
    text = key if key.isprintable() else ascii(key)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def shown_value(value: object) -> str:
    """Return a value as an error shows it: close to TOML."""
    return shown_key(json.dumps(value, default=str))
