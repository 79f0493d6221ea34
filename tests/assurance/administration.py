"""Commands that administer the machine: mounts, links, namespaces."""

import subprocess
from collections.abc import Collection

from dpe_coap.errors import LocalError


def call(*command: str, good: Collection[int] = (0,)) -> str:
    """Carry out a command and return what it prints; LocalError without it, or when its status is no ``good`` one."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LocalError(f"{command[0]}: {error.strerror}") from None
    if done.returncode not in good:
        raise LocalError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()
