"""Stands in for a board's power: deep sleep ends the program, and the next run is the wake."""

import sys


def deepsleep(ms: int) -> None:
    print("sleeps", ms)
    sys.exit(0)
