"""The inputs for ProVerif, made of docs/formal as symbolic.toml says, and what their terms mean in bytes."""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "formal"
PART = re.compile(r"^\(\* if ([^\n]+?) \*\)\n(.*?)^\(\* end \*\)\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Variant:
    """An input for ProVerif, and what ProVerif said about it."""

    name: str
    text: str = field(repr=False)
    result: str
    digest: str
    """The digest of the input to which the result belongs."""


def variants() -> dict[str, Variant]:
    """Return the inputs by name."""
    described = tomllib.loads((FOLDER / "symbolic.toml").read_text(encoding="utf-8"))
    x25519 = described["x25519"]["replace"]
    made = {}
    for entry in described["variant"]:
        text = (FOLDER / entry.get("file", "registration.pv")).read_text(encoding="utf-8")
        text = with_parts(text, entry.get("parts", []))
        text = replaced(text, [*(x25519 if entry.get("x25519") else []), *entry.get("replace", [])])
        made[entry["name"]] = Variant(entry["name"], text, entry["result"], entry["digest"])
    return made


def write(folder: Path) -> int:
    """Write every input into the folder; return how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    made = variants()
    for variant in made.values():
        (folder / f"{variant.name}.pv").write_text(variant.text, encoding="utf-8")
    return len(made)


def with_parts(text: str, wanted: Sequence[str]) -> str:
    """Return the text without the unwanted parts."""
    return PART.sub(lambda part: part[2] if part[1] in wanted else "", text)


def replaced(text: str, pairs: Sequence[Sequence[str]]) -> str:
    """Replace every ``old`` in the text by its ``new``. Raises ValueError if it does not occur."""
    for old, new in pairs:
        if old not in text:
            raise ValueError(f"to be replaced, but not there: {old!r}")
        text = text.replace(old, new)
    return text


def without_comments(text: str) -> str:
    """Return the text without comments, which do not nest here."""
    return re.sub(r"\(\*.*?\*\)", " ", text, flags=re.DOTALL)


def digest(text: str) -> str:
    """Return the SHA-256, in hex, of an input as ProVerif sees it: its words and signs, separated by one space."""
    return sha256(" ".join(re.findall(r"\w+|[^\w\s]", without_comments(text))).encode()).hexdigest()


# ---- terms ----


@dataclass(frozen=True)
class Term:
    """A name, or a function of terms. A tuple is the function with the empty name."""

    name: str
    arguments: tuple["Term", ...] | None = None

    def __str__(self) -> str:
        """As ProVerif writes it."""
        return self.name if self.arguments is None else f"{self.name}({', '.join(map(str, self.arguments))})"


def parse(text: str) -> Term:
    """Read a term. A pattern's ``=`` and the types of its names are left out."""
    words = re.findall(r"\w+|[^\w\s]", re.sub(r":\s*\w+|=", "", text))

    def term(at: int) -> tuple[Term, int]:
        name = ""
        if words[at] not in "()":
            name, at = words[at], at + 1
        if at == len(words) or words[at] != "(":
            return Term(name), at
        arguments = []
        while words[at] != ")":
            argument, at = term(at + 1)
            arguments.append(argument)
        return Term(name, tuple(arguments)), at + 1

    found, end = term(0)
    if end != len(words):
        raise ValueError(f"not one term: {text!r}")
    return found


def process(text: str, name: str) -> str:
    """Return the body of ``let name(...) =``."""
    found = re.search(rf"^let {name}\([^)]*\) =\n(.*?)(?=^let |^process|^\(\* if)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"no process {name}")
    return without_comments(found[1])


def bindings(body: str) -> list[tuple[str, Term]]:
    """Return what a process binds, compares and sends, in order, each as a name and the term that it must equal.

    ``let NAME = TERM in`` and ``if NAME = TERM then`` give themselves, ``out(c, (b4, TERM))`` gives mac4.
    """
    form = r"\blet (\w+) = (.*?) in\b|\bif (\w+) = (.*?) then\b|\bout\(c, \(b(\d), (.*\))\)\)[;.]"
    found = []
    for match in re.finditer(form, body):
        let, bound, compared, equal, number, sent = match.groups()
        found.append((let or compared or f"mac{number}", parse(bound or equal or sent)))
    return found


def shapes(body: str) -> dict[str, set[tuple[str, ...]]]:
    """Return the fields of each message b1 to b4 that a process makes or takes apart."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for made, tuple_, pattern, taken in re.findall(r"\b(b\d) = (\(.*?\)) (?:in|then)\b|(\(=.*?\)) = (b\d) in\b", body):
        fields = parse(tuple_ or pattern).arguments
        assert fields is not None  # it is a tuple
        found.setdefault(made or taken, set()).add(tuple(map(str, fields)))
    return found


Functions = Mapping[str, Callable[..., bytes]]


def evaluate(term: Term, values: Mapping[str, bytes], functions: Functions) -> bytes:
    """Return the bytes of a term. A tuple concatenates its parts. Raises KeyError for a name without value."""
    if term.arguments is None:
        return values[term.name]
    if term.name == "kdf":  # its label says which derivation it is
        key, info = term.arguments
        label, *rest = (info,) if info.arguments is None else info.arguments
        data = b"".join(evaluate(part, values, functions) for part in rest)
        return functions[label.name](evaluate(key, values, functions), data)
    parts = [evaluate(argument, values, functions) for argument in term.arguments]
    return functions[term.name](*parts) if term.name else b"".join(parts)
