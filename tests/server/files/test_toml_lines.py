"""Lines of TOML keys: every shape of the grammar by hand, and generated documents against tomllib."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dpe_server.files.toml_lines import Path, lines_of

SHAPES = '''# a comment, with = and [[
top = 1
"quoted \\u0041 key" . sub = 'x # not a comment'  # comment
basic = """
two lines, a "quote" and \\""" inside"""""
literal = \'\'\'
# [no]
\'\'\'
when = 1979-05-27 07:32:00
[plain]
list = [ # comment
  "a", # a ]
  [1, 2],

  {x = 1, y.z = "}"},
]
[[rule]]
name = "first"
[rule.reporting.battery]
every = 1
[[rule]]
[[rule.inner]]
k = ""
[[rule.inner]]
k = \'\'
[after]
"" = 0
'''


def test_every_shape() -> None:
    expected: dict[Path, int] = {
        ("top",): 2,
        ("quoted A key",): 3,
        ("quoted A key", "sub"): 3,
        ("basic",): 4,
        ("literal",): 6,
        ("when",): 9,
        ("plain",): 10,
        ("plain", "list"): 11,
        ("plain", "list", 0): 12,
        ("plain", "list", 1): 13,
        ("plain", "list", 1, 0): 13,
        ("plain", "list", 1, 1): 13,
        ("plain", "list", 2): 15,
        ("plain", "list", 2, "x"): 15,
        ("plain", "list", 2, "y"): 15,
        ("plain", "list", 2, "y", "z"): 15,
        ("rule",): 17,
        ("rule", 0): 17,
        ("rule", 0, "name"): 18,
        ("rule", 0, "reporting"): 19,
        ("rule", 0, "reporting", "battery"): 19,
        ("rule", 0, "reporting", "battery", "every"): 20,
        ("rule", 1): 21,
        ("rule", 1, "inner"): 22,
        ("rule", 1, "inner", 0): 22,
        ("rule", 1, "inner", 0, "k"): 23,
        ("rule", 1, "inner", 1): 24,
        ("rule", 1, "inner", 1, "k"): 25,
        ("after",): 26,
        ("after", ""): 27,
    }
    assert lines_of(SHAPES) == expected
    assert lines_of(SHAPES.replace("\n", "\r\n")) == expected
    assert set(expected) == set(paths(tomllib.loads(SHAPES)))


def paths(value: Any, path: Path = ()) -> list[Path]:
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [inner for key, item in items for inner in ((*path, key), *paths(item, (*path, key)))]


SPACE = st.sampled_from(["", " ", "\t "])
BREAK = st.sampled_from(["", " ", "\n", " # ]}=\n", "\r\n"])
KEY = st.sampled_from(["a", "b-c", "_1", '"d"', "'e'", '"f.g"', '"h\\"]"', '""', "'='", '"#"'])
SCALAR = st.sampled_from(
    ["1", "-0x0", "true", "1e3", '"x"', "'#y'", '"""a\n"" b"""', "'''\n'c'''", '"\\\\"', '""', "''", "12:30:00"]
)


@st.composite
def lists(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    items = [draw(BREAK) + draw(values) + draw(BREAK) for _ in range(draw(st.integers(0, 3)))]
    return "[" + ",".join(items) + draw(st.sampled_from(["", ",", "\n"] if items else ["", "\n"])) + "]"


@st.composite
def inline_tables(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    return "{" + ",".join(draw(SPACE) + draw(pairs(values)) for _ in range(draw(st.integers(0, 3)))) + draw(SPACE) + "}"


@st.composite
def pairs(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    dots = draw(SPACE) + "." + draw(SPACE)
    return dots.join(draw(st.lists(KEY, min_size=1, max_size=3))) + draw(SPACE) + "=" + draw(SPACE) + draw(values)


VALUE = st.recursive(SCALAR, lambda values: lists(values) | inline_tables(values), max_leaves=6)


@st.composite
def statements(draw: st.DrawFn) -> str:
    header = ".".join(draw(st.lists(KEY, min_size=1, max_size=3)))
    return draw(pairs(VALUE) | st.sampled_from([f"[{header}]", f"[[{header}]]", f"[[ {header} ]]", "# comment", ""]))


@given(st.lists(statements(), max_size=8))
def test_finds_exactly_the_paths_of_tomllib(candidates: list[str]) -> None:
    """Statements that would make the document invalid (a key given twice, ...) are left out one by one."""
    text = ""
    for statement in candidates:
        try:
            tomllib.loads(text + statement + "\n")
        except tomllib.TOMLDecodeError:
            continue
        text += statement + "\n"
    lines = lines_of(text)
    assert set(lines) == set(paths(tomllib.loads(text)))
    assert all(1 <= line <= text.count("\n") for line in lines.values())
