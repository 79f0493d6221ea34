"""What the firmware has frozen in: the DPE Client as it is, and this board's drivers and application."""

# ruff: noqa: F821  # makemanifest.py defines these functions
package("dpe_device", base_path="../..")
freeze(".", ("entropy.py", "ipv4.py", "lan9118.py", "main.py", "measure.py", "nonvolatile.py", "os.py", "socket.py"))
