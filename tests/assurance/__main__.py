"""``./tools/assure NAME OPTIONS``: runs an instrument, which is a module beside this one that has a ``main``."""

import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent


def instruments() -> dict[str, str]:
    """Return the instruments by name, each with the first line of its docstring."""
    found = {}
    for path in sorted([*HERE.glob("*.py"), *HERE.glob("*/__init__.py")]):
        module = ast.parse(path.read_text(encoding="utf-8"))
        if path.name != "__main__.py" and any(isinstance(n, ast.FunctionDef) and n.name == "main" for n in module.body):
            name = path.parent.name if path.name == "__init__.py" else path.stem
            found[name] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


def main(arguments: Sequence[str]) -> int:
    """Run the instrument. Return the exit status: 0 done, 1 something was found, 2 wrong usage."""
    known = instruments()
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, known), default=0)
        print("usage: ./tools/assure NAME [OPTIONS]; ./tools/assure NAME --help\n")
        print("\n".join(f"  {name:{width}}  {text}" for name, text in known.items()))
        return 0
    name, *rest = arguments
    if name not in known:
        print(f"no such instrument: {name!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    status = importlib.import_module(f"tests.assurance.{name}").main(rest)
    assert isinstance(status, int)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
