"""Has the wheel and the source archive contain what the page of ``dpe web`` has from npm."""

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Builds it if it is not there: a source archive has it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Run before anything is packed. A checkout that is only made importable needs nothing."""
        root = Path(self.root)
        if version != "editable" and not (root / "server/dpe_server/web/static/vendor/uPlot.iife.min.js").exists():
            subprocess.run([root / "tools" / "web-assets"], check=True)
