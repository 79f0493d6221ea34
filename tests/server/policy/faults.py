"""What the tests of faults share."""

import pytest

from dpe_server.policy import Fault, PolicyError, parse

ACCEPT = 'action = "accept"\nrange = ["00000000000000", "0fffffffffffff"]\n'


def faults(text: str) -> list[Fault]:
    """Return the faults of a policy that has some."""
    with pytest.raises(PolicyError) as caught:
        parse(text, "a.toml")
    error = caught.value
    assert (error.line, error.key) == error.faults[0][:2]
    assert len(error.report) == len(error.faults)
    assert str(error).startswith(error.report[0])
    assert "\n" not in str(error)
    return list(error.faults)
