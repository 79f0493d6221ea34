"""The stages of CPU time: each names what is there."""

import pkgutil

import pytest

from dpe_bench.servers.stages import STAGES


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_named_by_what_runs(name: str) -> None:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{name} was moved or renamed: its CPU time would count for another stage ({error})")
