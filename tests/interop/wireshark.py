"""Debian's tshark, with the dissector and a profile, as a function from a capture to the fields of its frames."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

DISSECTOR = Path(__file__).resolve().parents[2] / "tools" / "dpe_tools" / "wireshark" / "dpe1.lua"
_SEPARATOR, _AGGREGATOR = "\x1e", "\x1f"
_ERROR = "_ws.lua.error"
Frames = list[dict[str, list[str]]]
Tshark = Callable[..., Frames]
"""Called with a capture, a profile's folder and names of fields; further options are ``options``."""


class TsharkError(AssertionError):
    """tshark, or the dissector in it, has failed."""


def run(tshark: str, capture: Path, profile: Path, *names: str, options: tuple[str, ...] = ()) -> Frames:
    """Return the values of the fields of each frame, in its order."""
    command = [tshark, "-X", f"lua_script:{DISSECTOR}", "-r", str(capture), *options, "-T", "fields"]
    command += ["-E", f"separator={_SEPARATOR}", "-E", f"aggregator={_AGGREGATOR}", "-E", "occurrence=a"]
    for name in (*names, _ERROR):
        command += ["-e", name]
    environment = os.environ | {"WIRESHARK_CONFIG_DIR": str(profile)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    if done.returncode or "Lua" in done.stderr:
        raise TsharkError(done.stderr)
    frames: Frames = []
    for line in done.stdout.removesuffix("\n").split("\n"):
        values = line.split(_SEPARATOR)
        found = {name: value.split(_AGGREGATOR) for name, value in zip((*names, _ERROR), values, strict=True) if value}
        if _ERROR in found:
            raise TsharkError(f"frame {len(frames) + 1}: an error in the dissector")
        frames.append(found)
    return frames
