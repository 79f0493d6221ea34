"""What a device is to report, and when: as a rule has it, as a message has it, and in words.

The names of conditions are those of draft-ietf-core-conditional-attributes, but for ``roaming``, which is ours.
"""

from collections.abc import Mapping
from typing import NamedTuple

from dpe_coap.numbers import Attribute
from dpe_coap.session_messages import Conditions, Policies
from dpe_server.files.shown import shown_key
from dpe_server.policy.vocabulary import Entry, Number, Vocabulary

NAMES = {attribute.name.lower(): int(attribute) for attribute in Attribute}
"""The keys of a property's table, each with what a message calls it."""


class ReportingPolicy(NamedTuple):
    """A property that a device is to report, and when."""

    entry: Entry
    conditions: Conditions

    def __str__(self) -> str:
        """In plain English."""
        return f"{self.entry}: {describe(self.conditions)}"


Reporting = tuple[ReportingPolicy, ...]
"""What a device is to report; of an empty one, nothing."""


def policies_of(reporting: Reporting) -> Policies:
    """Return the policies as a message has them."""
    return {policy.entry.wire: policy.conditions for policy in reporting}


def describe(conditions: Conditions) -> str:
    """Say in plain English when a property with these conditions is reported."""
    named = {name: conditions[number] for name, number in NAMES.items() if number in conditions}
    pmin, pmax = named.get("pmin"), named.get("pmax")
    if pmin is not None and pmin == pmax:
        words = [f"every {pmax} s"]
    else:
        words = ["when it " + ", or ".join(_triggers(named) or ["changes"])]
        words += [] if pmin is None else [f"at most every {pmin} s"]
        words += [] if pmax is None else [f"at least every {pmax} s"]
    if named.get("roaming") is False:
        words.append("not while roaming")
    return ", ".join(words)


def _triggers(named: Mapping[str, Number]) -> list[str]:
    """Say what makes a report due, each as the end of ``when it ...``; nothing when every change does."""
    found = []
    above, below = named.get("gt"), named.get("lt")
    if "st" in named:
        found.append(f"changes by {named['st']} or more")
    if named.get("band"):
        found.append(f"changes and is {_band(above, below)}")
    else:
        found += [] if above is None else [f"becomes higher than {above} or no longer is"]
        found += [] if below is None else [f"becomes lower than {below} or no longer is"]
    if "edge" in named:
        found.append(f"becomes {'true' if named['edge'] else 'false'}")
    return found


def _band(above: Number | None, below: Number | None) -> str:
    if above is None:
        return f"{below} or more"
    if below is None:
        return f"{above} or less"
    return f"from {above} to {below}" if above <= below else f"lower than {below} or higher than {above}"


def described(policies: Policies, vocabulary: Vocabulary) -> list[str]:
    """Say in plain English what a device with these policies reports, a line for each property."""
    entries = ((vocabulary.on_wire(wire) or vocabulary.name_of(wire), how) for wire, how in policies.items())
    return [f"{shown_key(str(entry))}: {describe(how)}" for entry, how in entries]
