"""Run the device's tests without pytest, on MicroPython: `micropython tests/device/run.py [NAME]...`.

Prints the interpreter, then a line for each test. The exit status is 1 if a test failed. Each NAME selects the modules
whose name contains it.
"""

import gc
import os
import sys

here = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
sys.path[:0] = [here + "/../..", here + "/../../device"]


def main(names: "list[str]") -> int:
    """Run the tests; return the exit status."""
    print(sys.version)
    failed = ran = 0
    for file in sorted(os.listdir(here)):  # noqa: PTH208  # MicroPython has no pathlib
        if not (file.startswith("test_") and file.endswith(".py")):
            continue
        if names and not any(name in file for name in names):
            continue
        whole = "tests.device." + file[:-3]
        module = __import__(whole, None, None, ("*",))
        for name in sorted(dir(module)):
            if not name.startswith("test_"):
                continue
            ran += 1
            try:
                getattr(module, name)()
                print("ok", file[:-3] + "." + name)
            except Exception as error:
                failed += 1
                print("FAILED", file[:-3] + "." + name)
                if hasattr(sys, "print_exception"):
                    sys.print_exception(error)
                else:
                    sys.excepthook(type(error), error, error.__traceback__)
        # A small board has no room for all modules at once.
        del module, sys.modules[whole]
        delattr(sys.modules["tests.device"], file[:-3])
        gc.collect()
    print(f"{ran} tests, {failed} failed")
    return 1 if failed or not ran else 0


sys.exit(main(sys.argv[1:]))
