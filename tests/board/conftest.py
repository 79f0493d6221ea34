"""Fixtures: the firmware of the emulated boards, and a board with a server and a relay."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dpe_tools.board_stage import BoardStage
from dpe_tools.emulator import PROGRAM
from tests.conftest import missing

IMEI = "00101700000001"
"""A TAC of the reporting body for tests (00)."""


@pytest.fixture(scope="session")
def built(root: Path) -> Path:
    """The folder of the firmware, built from what is in this checkout: within seconds, or minutes the first time."""
    if shutil.which(PROGRAM) is None:
        missing(f"{PROGRAM} is not installed")
    built = subprocess.run([root / "tools" / "build_board"], capture_output=True, text=True, check=False)
    if built.returncode:
        missing(built.stderr.strip())
    return root / ".cache" / "board"


@pytest.fixture(scope="session")
def firmware(built: Path) -> Path:
    """The firmware of the Cortex-M3 board."""
    return built / "firmware.elf"


@pytest.fixture
def new_stage(firmware: Path, tmp_path: Path) -> Iterator[Callable[..., BoardStage]]:
    """A function that makes a stage. ``said`` has everything that its board has printed."""
    with ExitStack() as cleanup:

        def make(**options: Any) -> BoardStage:
            return cleanup.enter_context(BoardStage(tmp_path, firmware, **options))

        yield make


@pytest.fixture
def stage(new_stage: Callable[..., BoardStage]) -> BoardStage:
    """A stage whose board is registered."""
    stage = new_stage()
    stage.provision(IMEI)
    stage.registered()
    return stage
