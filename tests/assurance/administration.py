"""Commands that administer the machine: mounts, network links, namespaces."""

import subprocess
from collections.abc import Collection

from dpe_coap.errors import LocalError


def call(*command: str, good: Collection[int] = (0,)) -> str:
    """Run a command and return what it prints. Raises LocalError if it is missing, or its status is not ``good``."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LocalError(f"{command[0]}: {error.strerror}") from None
    if done.returncode not in good:
        raise LocalError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()
