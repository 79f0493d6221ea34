"""The page on the device package's API names what the package has: every public name and parameter, and no other."""

import ast
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from dpe_device.udp import LONGEST
from tests.conftest import ROOT
from tests.device.scripted import FORBIDDEN, HANDLE, Bench, Chance, answer, sealed

PACKAGE = ROOT / "device" / "dpe_device"
PAGE = ROOT / "docs" / "device-api.md"
MODULES = sorted(file.stem for file in PACKAGE.glob("*.py") if file.stem != "__init__")
COMPILER_ONLY = {"const"}  # MicroPython's compiler folds it away

OF_OTHERS = {"os.urandom", "storage.load", "storage.save", "path.2", "registration.state", "_types.pyi"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tree(name: str) -> ast.Module:
    return ast.parse((PACKAGE / name).read_text(encoding="utf-8"))


def public(name: str) -> bool:
    return not name.startswith("_") and name not in COMPILER_ONLY


def signature(function: Function, drop: int) -> str:
    """The parameters and their defaults, without annotations and without the first so many."""
    arguments = function.args
    arguments.args = arguments.args[drop:]
    for one in [*arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
        if one is not None:
            one.annotation = None
    return f"({ast.unparse(arguments)})"


def targets(node: ast.stmt) -> Iterator[ast.expr]:
    """What a statement assigns to."""
    found = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    for target in found:
        yield from target.elts if isinstance(target, ast.Tuple) else [target]


def of_class(node: ast.ClassDef) -> Iterator[str]:
    """The class with its constructor's parameters, its public methods and attributes."""
    constructor = "()"
    for inner in node.body:
        for target in targets(inner):
            if isinstance(target, ast.Name) and public(target.id):
                yield f"{node.name}.{target.id}"
        if not isinstance(inner, Function):
            continue
        for statement in ast.walk(inner):
            for target in targets(statement) if isinstance(statement, ast.stmt) else ():
                match target:
                    case ast.Attribute(ast.Name("self"), name) if public(name):
                        yield f"{node.name}.{name}"
        static = any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in inner.decorator_list)
        if inner.name == "__init__":
            constructor = signature(inner, 1)
        elif public(inner.name):
            yield f"{node.name}.{inner.name}{signature(inner, 0 if static else 1)}"
    yield f"{node.name}{constructor}"


def of_module(body: Iterable[ast.stmt]) -> Iterator[str]:
    """The public names of a module, of functions with their parameters; `import .. as` the same name exports it."""
    for node in body:
        match node:
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) if public(name):
                yield name + signature(node, 0)
            case ast.ClassDef(name) if public(name):
                yield from of_class(node)
            case ast.ImportFrom(names=names):
                yield from (one.name for one in names if one.asname == one.name)
            case ast.If():
                yield from of_module([*node.body, *node.orelse])
        for target in targets(node):
            if isinstance(target, ast.Name) and public(target.id):
                yield target.id


def spans(token: Token) -> list[str]:
    """The code in a line of text."""
    return [inner.content for inner in token.children or () if inner.type == "code_inline"]


def first_cells(heading: str) -> dict[str, list[str]]:
    """The code in the first cells of a section's tables, by what the tables' first columns are called."""
    found: dict[str, list[str]] = {}
    section = column = ""
    tokens = MarkdownIt().enable("table").parse(PAGE.read_text(encoding="utf-8"))
    first = False
    for token, following in pairwise(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            section = following.content
        elif token.type == "tr_open":
            first = True
        elif token.type in ("th_open", "td_open") and first:
            first = False
            if token.type == "th_open":
                column = following.content
            elif section == heading:
                found.setdefault(column, []).extend(spans(following))
    return found


@pytest.mark.parametrize("module", MODULES)
def test_a_section_names_what_its_module_has(module: str) -> None:
    said = first_cells(f"`dpe_device.{module}`")["name"]
    assert len(said) == len(set(said))
    assert set(said) == set(of_module(tree(f"{module}.py").body))


def test_every_module_has_its_section_and_no_other() -> None:
    sections = re.findall(r"^## `dpe_device\.(\w+)`$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(sections) == MODULES
    assert not tree("__init__.py").body[1:], "the package itself exports nothing"


@pytest.mark.parametrize(
    ("module", "name", "elsewhere"),
    [("registration", "__init__", set()), ("udp", "register", {"credential", "storage"})],
)
def test_every_parameter_is_explained(module: str, name: str, elsewhere: set[str]) -> None:
    [function] = [
        node
        for node in ast.walk(tree(f"{module}.py"))
        if isinstance(node, Function) and node.name == name and len(node.args.kwonlyargs) > 1
    ]
    arguments = function.args
    named = {one.arg for one in [*arguments.args, *arguments.kwonlyargs, *filter(None, [arguments.kwarg])]}
    assert set(first_cells(f"`dpe_device.{module}`")["parameter"]) == named - elsewhere - {"self"}


def test_the_states_are_explained() -> None:
    states = {name for name in of_module(tree("registration.py").body) if name.isupper()}
    assert len(states) == 6
    assert set(re.findall(r"^\| `([A-Z]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) >= states


def test_the_settings_of_the_type_checkers_are_the_keywords() -> None:
    [settings] = [n for n in tree("_types.pyi").body if isinstance(n, ast.ClassDef) and n.name == "Settings"]
    [registration] = [n for n in tree("registration.py").body if isinstance(n, ast.ClassDef)]
    [constructor] = [n for n in registration.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    keywords = [one.arg for one in constructor.args.kwonlyargs]
    assert [name.removeprefix("Settings.") for name in of_class(settings)][:-1] == keywords


def test_whatever_else_is_named_is_there() -> None:
    """Names with a dot anywhere in the text, and the types."""
    known = {name.partition("(")[0] for module in MODULES for name in of_module(tree(f"{module}.py").body)}
    known |= {
        f"{module}.{name.partition('(')[0]}" for module in MODULES for name in of_module(tree(f"{module}.py").body)
    }
    tokens = MarkdownIt().enable("table").parse(PAGE.read_text(encoding="utf-8"))
    code = [span for token in tokens for span in spans(token)]
    dotted = {found[1] for span in code if (found := re.match(r"((?:\w+\.)+\w+)(?:\(|$)", span))}
    assert len(dotted) > 40
    assert {name for name in dotted if name.removeprefix("dpe_device.") not in known | set(MODULES)} == OF_OTHERS
    [section] = re.findall(r"^## Types\n(.*?)^## ", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    types = {name.partition("(")[0] for name in of_module(tree("_types.pyi").body)}
    assert set(re.findall(r"`([A-Z]\w+)`", section)) - types == {"Registration"}


class Counted(Chance):
    """Chance that counts its bytes."""

    drawn = 0

    def __call__(self, size: int) -> bytes:
        self.drawn += size
        return super().__call__(size)


class SharesNothing:
    """Stands for X25519: only the sizes count."""

    def public(self, private: bytes) -> bytes:
        return private

    def shared(self, private: bytes, peer: bytes) -> bytes:
        return bytes(32)


@pytest.mark.parametrize(("suite", "row"), [(1, r"{} bytes; with"), (2, r"with X25519 {} \|")])
def test_the_entropy_of_a_registration(suite: int, row: str) -> None:
    chance = Counted()
    bench = Bench(chance, x25519=SharesNothing(), suite=suite)
    success = bench.offered(**({"x25519_key": bytes(range(32)), "x25519": bytes(32)} if suite == 2 else {}))
    bench.step(answer(success, bench.server.confirm(success.payload)))
    assert bench.state == "REGISTERED"
    assert re.search(rf"entropy for a registration \|.*{row.format(chance.drawn)}", PAGE.read_text(encoding="utf-8"))


def test_the_sizes_of_records_and_datagrams() -> None:
    bench = Bench(versions=((255, 255),), firmware="x" * 32, suite=2, x25519=SharesNothing())
    bench.storage.record = sealed(b"\xff\xff\xff\0" + bytes(5) + HANDLE)  # its next block has ten digits
    bench.boot()
    request = bench.wait_sent()
    assert bench.storage.record is not None
    shortest = len(bench.storage.record)
    longest_uri = "coap://" + "h" * 121
    keys = {"version": (255, 255), "x25519_key": bytes(range(32)), "x25519": bytes(32)}
    bench.step(
        answer(request, bench.server.response(request.payload, status=6, server_uri=longest_uri, **keys), FORBIDDEN)
    )
    bench.offered(**keys)
    assert bench.state == "CONFIRMING"
    page = PAGE.read_text(encoding="utf-8")
    assert f"| a record in storage | {shortest} to {len(bench.storage.record)} bytes |" in page
    assert f"| a datagram | at most {len(request.bytes)} bytes sent, {LONGEST} received |" in page
