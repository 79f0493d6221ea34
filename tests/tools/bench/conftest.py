"""What the tests of the benchmarks share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dpe_bench import generator
from dpe_coap.errors import LocalError
from tests.conftest import missing


@pytest.fixture(scope="session")
def load(require_tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The load generator."""
    require_tool("gcc")
    try:
        return generator.build(tmp_path_factory.mktemp("load"))
    except LocalError as error:
        missing(str(error))
