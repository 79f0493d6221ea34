"""The stages of CPU time: each names what is there."""

import pkgutil
import threading
from pathlib import Path

import pytest

from dpe_bench.servers.stages import STAGES, THREADS
from dpe_server.operation.audit import AuditLog


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_named_by_what_runs(name: str) -> None:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{name} was moved or renamed: its CPU time would count for another stage ({error})")


def test_a_thread_is_named_by_what_it_does(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.jsonl")
    names = {thread.name for thread in threading.enumerate()}
    audit.close(0)
    assert set(THREADS) <= names
