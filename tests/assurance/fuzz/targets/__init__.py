"""What is fuzzed: a module for each target. Its docstring is its invariant.

A target has ``check(data)``, which raises if the invariant is broken; ``seeds()``, valid inputs to begin with;
``WORDS``, byte strings with a meaning for it; and ``LONGEST``, the size of its longest input in bytes. It may have
``repair(data, chance)``, which corrects the security token after a mutation.
"""

import importlib
import warnings
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

UNDER_TEST = {
    "message_decoder": ["dpe_coap"],
    "lane": ["dpe_server"],
    "protected": ["dpe_server", "dpe_coap"],
    "oscore_option": ["dpe_coap", "dpe_server"],
    "session_request": ["dpe_server", "dpe_coap"],
    "session_messages": ["dpe_coap"],
    "policy_file": ["dpe_server"],
    "credential_file": ["dpe_server", "dpe_device"],
    "device_coap": ["dpe_device"],
    "device_cbor": ["dpe_device"],
    "device_session": ["dpe_device"],
}
"""The targets, and the packages whose coverage guides each: what stands between its input and its invariant."""

Repair = Callable[[bytes, Random], bytes]


class Target(NamedTuple):
    """One target, loaded."""

    name: str
    invariant: str
    check: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    words: Sequence[bytes]
    longest: int
    repair: Repair | None


def load(name: str) -> Target:
    """Import a target. From then on a warning is an error, as in the tests."""
    module = importlib.import_module(f"{__name__}.{name}")
    warnings.simplefilter("error")
    invariant = " ".join((module.__doc__ or "").split())
    repair = getattr(module, "repair", None)
    return Target(name, invariant, module.check, module.seeds, module.WORDS, module.LONGEST, repair)
