"""What the firmware has frozen in: a program that runs what the emulator puts into the flash."""

# ruff: noqa: F821  # makemanifest.py defines this function
freeze(".", "main.py")
