"""What the server does for a datagram, counted: bytecodes, calls of primitives, operations of the database."""

import gc
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any


def count(act: Callable[[], object]) -> Counter[str]:
    """Return what ``act`` did: the calls of every function by name, and all ``bytecodes``."""
    counts: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            counts["bytecodes"] += 1
        return trace

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            counts[_name(argument)] += 1
        elif event == "call":
            counts[_code_name(frame.f_code)] += 1

    before = sys.gettrace(), sys.getprofile()
    collects = gc.isenabled()
    gc.disable()  # a collection, and what pytest's plugins hang on it, is no work of ``act``
    sys.setprofile(profile)
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
        if collects:
            gc.enable()
    return counts


def _name(function: Any) -> str:
    owner = type(function.__self__).__name__ if getattr(function, "__self__", None) is not None else ""
    return f"{owner}.{function.__name__}"


def _code_name(code: CodeType) -> str:
    return f"{Path(code.co_filename).stem}:{code.co_qualname}"
