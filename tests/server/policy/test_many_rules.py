"""A policy of many rules: the work to read it grows with the rules, and not with their square."""

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from dpe_server.policy import PolicyError, parse

ACCEPT = 'action = "accept"\nrange = ["{:014x}", "{:014x}"]'
SHAPES: dict[str, Callable[[int], list[str]]] = {
    "a model each": lambda n: [f'tac = ["{35000000 + i}"]\n{ACCEPT.format(2 * i, 2 * i + 1)}' for i in range(n)],
    "four versions of each model": lambda n: [
        f'tac = ["{35000000 + i // 4}"]\nversion = "{i % 4}.*"\n{ACCEPT.format(0, 1)}' for i in range(n)
    ],
    "versions": lambda n: [f'version = "{i // 256}.{i % 256}"\naction = "refuse"' for i in range(n)],
    "firmware": lambda n: [f'firmware = "{i}.*"\naction = "require-x25519"' for i in range(n)],
    "firmware of each model": lambda n: [
        f'tac = ["{35000000 + i // 8}"]\nfirmware = "{i % 8}.*"\naction = "refuse"' for i in range(n)
    ],
    "old models": lambda n: [
        *(
            f'tac = ["{35000000 + i}"]\nversion = "2.*"\naction = "version-not-supported"\nhighest = "1.0"'
            for i in range(n)
        ),
        f'version = "1.*"\n{ACCEPT.format(0, 1)}',
    ],
    "ranges of versions": lambda n: [
        f'tac = ["{35000000 + i // 2}"]\nversion = "{i % 200}.{i % 7}-{200 + i % 50}.0"\naction = "refuse"'
        for i in range(n)
    ],
    "ten models that cover a longer prefix": lambda n: [
        *(f'tac = ["{i:06}"]\naction = "refuse"' for i in range(n)),
        *(f'tac = ["{i:05}"]\naction = "refuse"' for i in range(n // 10)),
    ],
    "each twice": lambda n: [f'tac = ["{35000000 + i // 2}"]\naction = "refuse"' for i in range(n)],
    "all behind one that takes all": lambda n: ['action = "refuse"'] * n,
    "ranges that overlap": lambda n: [f'tac = ["{35000000 + i}"]\n{ACCEPT.format(i, i + 5)}' for i in range(n)],
}


def calls(text: str) -> int:
    """How many calls of functions, and steps of generators, it takes to read a policy, whatever it is worth."""
    count = 0

    def note(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        parse(text)
    except PolicyError:
        pass
    finally:
        sys.setprofile(None)
    return count


def policy(shape: str, count: int) -> str:
    return "".join(f"[[rule]]\n{rule}\n" for rule in SHAPES[shape](count))


@pytest.mark.parametrize("shape", SHAPES)
def test_twice_the_rules_are_twice_the_work(shape: str) -> None:
    once, twice = (calls(policy(shape, count)) for count in (200, 400))
    assert once > 200 * 20
    assert twice < 2.2 * once
