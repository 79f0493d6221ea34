"""What is made from another file is what is committed."""

import subprocess
import sys
from pathlib import Path


def test_state_machines_are_drawn_from_the_code(root: Path) -> None:
    subprocess.run([sys.executable, root / "tools" / "generate_state_machines.py", "--check"], check=True)


def test_the_protocol_page_has_the_schema(root: Path) -> None:
    page = (root / "docs" / "protocol.md").read_text(encoding="utf-8")
    schema = (root / "dpe_coap" / "dpe1.cddl").read_text(encoding="utf-8")
    assert f"```cddl\n{schema}```" in page
