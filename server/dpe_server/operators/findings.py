"""What an examination finds. This imports nothing, as a health check reads it every few seconds."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    level: Literal["ok", "warn", "fail"]
    what: str
    hint: str = ""
