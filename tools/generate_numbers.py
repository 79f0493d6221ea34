#!/usr/bin/env python3
"""Make dpe_coap/numbers.py from dpe_coap/dpe1.cddl, the single source of labels, codes and sizes.

`tools/generate_numbers.py` writes the file; `--check` only compares and exits 1 on a difference.
"""

import sys
from pathlib import Path
from typing import Any

import cddlparser
from cddlparser.ast import Operator, Range, Rule, Value

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "dpe_coap" / "dpe1.cddl"
TARGET = ROOT / "dpe_coap" / "numbers.py"

HEAD = '''"""Labels, codes and sizes of DPE-1. Generated from dpe1.cddl by tools/generate_numbers.py; do not edit."""

from enum import IntEnum
from typing import Final
'''


def constants(schema: str) -> dict[str, int]:
    """Return every constant of the schema by its Python name: LABEL_*, TYPE_*, STATUS_*, SIZE_* and MAX_*.

    SIZE_ is an exact size in bytes, MAX_ the largest value of a number or the largest size of a text.
    """
    found: dict[str, int] = {}
    for rule in cddlparser.parse(schema).rules:
        if not isinstance(rule, Rule):
            continue
        name = rule.name.name.replace("-", "_").upper()
        kind: Any = rule.type.types[0]
        if isinstance(kind, Value):
            found[name] = int(kind.value)
        elif isinstance(kind, Range):
            found[f"MAX_{name}"] = int(kind.max.value)
        elif isinstance(kind, Operator):
            size = kind.controller
            if isinstance(size, Value):
                found[f"SIZE_{name}"] = int(size.value)
            else:
                found[f"MAX_{name}"] = int(size.types[0].max.value)
    return found


def module(found: dict[str, int]) -> str:
    """Return the text of numbers.py."""
    lines = [HEAD]
    for prefix in ("LABEL_", "SIZE_", "MAX_"):
        lines += [f"{name}: Final = {value}" for name, value in found.items() if name.startswith(prefix)]
        lines.append("")
    for prefix, title, doc in (
        ("TYPE_", "MessageType", "The value of label 0: which of the four messages this is."),
        (
            "STATUS_",
            "Status",
            "The value of label 4. Values not listed are refusals in a RESPONSE, declines in a SUCCESS.",
        ),
    ):
        lines += ["", f"class {title}(IntEnum):", f'    """{doc}"""', ""]
        lines += [
            f"    {name.removeprefix(prefix)} = {value}" for name, value in found.items() if name.startswith(prefix)
        ]
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Write or check numbers.py; return the exit status."""
    text = module(constants(SCHEMA.read_text(encoding="utf-8")))
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.read_text(encoding="utf-8") == text:
        return 0
    print(f"{TARGET.name} differs from {SCHEMA.name}; run tools/generate_numbers.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
