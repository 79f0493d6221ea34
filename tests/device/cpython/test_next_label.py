"""A label that the schema may get next, in the device's codec: judged by its own rule, and refused until it has one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpe_device import messages
from tests.device.scripted import encode
from tests.device.test_cbor import CONFIRM, REFUSAL, RESPONSE

LAST_RULE = '        b"\\0\\x01\\x05"  # retry after\n'
NEXT_RULE = '        b"\\0\\x01\\x05"  # the next: up to 2^32 - 1\n'
ALLOWED = ("_MAY_RESPONSE", "_MAY_CONFIRM", "_OPTIONAL")
GOOD = ((RESPONSE, 2), (REFUSAL, 2), (CONFIRM, 4))

Decode = Callable[[bytes, int], dict[int, Any]]


@pytest.fixture
def with_label_11(root: Path) -> Decode:
    """The device's decoder, with one label more: its bit in the sets, and its rule behind the last label's."""
    source = (root / "device" / "dpe_device" / "messages.py").read_text(encoding="utf-8")
    assert source.count(LAST_RULE) == 1
    source = source.replace(LAST_RULE, LAST_RULE + NEXT_RULE)
    for name in ALLOWED:
        assert source.count(f"\n{name} = const(") == 1
        source = source.replace(f"\n{name} = const(", f"\n{name} = const(1 << 11 | ")
    module: dict[str, Any] = {}
    exec(compile(source, "messages.py", "exec"), module)
    decode: Decode = module["decode"]
    return decode


def refuses(decode: Decode, message: dict[int, Any], kind: int) -> bool:
    try:
        decode(encode(message), kind)
    except ValueError:
        return True
    return False


def test_the_next_label_is_judged_by_its_own_rule(with_label_11: Decode) -> None:
    for message, kind in GOOD:
        assert with_label_11(encode(message), kind) == message
        for value in (0, 5, 255, 2**32 - 1):
            assert with_label_11(encode(message | {11: value}), kind) == message | {11: value}
        for bad in (2**32, -1, bytes(16), bytes(32), "x", (1, 0)):
            assert refuses(with_label_11, message | {11: bad}, kind)


@pytest.mark.parametrize("label", [1, 7, *range(11, 23)])
def test_a_label_without_a_rule_is_refused(monkeypatch: pytest.MonkeyPatch, label: int) -> None:
    """Its own rule is forgotten: no other label's is taken for it."""
    for message, kind in GOOD:
        assert messages.decode(encode(message | {label: 0}), kind) == message  # not known, so not judged
    for name in ALLOWED:
        monkeypatch.setattr(messages, name, getattr(messages, name) | 1 << label)
    for message, kind in GOOD:
        assert messages.decode(encode(message), kind) == message
        for value in (0, 5, 2**32 - 1, bytes(7), bytes(16), bytes(32), "x", (1, 0), ()):
            assert refuses(messages.decode, message | {label: value}, kind)
