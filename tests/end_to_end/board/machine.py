"""Stands in for a board's power: deep sleep ends the program, and the next run is the wake."""

import sys


def deepsleep(ms: int) -> None:
    print("sleeps", ms)
    sys.exit(0)


class Pin:
    def __init__(self, number: int) -> None:
        self.number = number


class ADC:
    """A battery that loses 1 % from one reading to the next; a file remembers how full it is."""

    def __init__(self, pin: Pin) -> None:
        assert pin.number == 35

    def read_u16(self) -> int:
        try:
            with open("charge") as file:  # noqa: PTH123  # MicroPython has no pathlib
                charge = int(file.read())
        except OSError:
            charge = 88
        charge -= 1
        with open("charge", "w") as file:  # noqa: PTH123
            file.write(str(charge))
        return (3300 + charge * 9 + 5) * 65535 // 6600
