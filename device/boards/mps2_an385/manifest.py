"""What the firmware has frozen in: the DPE Client as it is, and this board's drivers and application."""

# ruff: noqa: F821  # makemanifest.py defines these functions
include("../../manifest.py", x25519=True, session=True, aes=True)
freeze(".", ("heap.py", "main.py", "measure.py", "measure_session.py", "reports.py"))
