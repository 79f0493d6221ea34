"""Two nodes of a cluster, made and run as an operator does: `dpe init --store`, `dpe init --join`, `dpe serve`."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dpe_coap.errors import LocalError
from dpe_server.operation.state_dir import StateDir
from dpe_tools.server_process import ServerProcess, free_port

REALM = "cluster"


class Node:
    """A node with its state directory and its process."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.path = folder / name
        self.log = folder / f"{name}.log"
        self.address = ("127.0.0.1", free_port())
        self.process = ServerProcess(self.path, self.log, port=self.address[1])

    @property
    def state(self) -> StateDir:
        """Its state directory."""
        return StateDir.open(self.path)


def made(folder: Path, url: str, names: Sequence[str] = ("node1", "node2"), *, one_machine: bool = False) -> list[Node]:
    """Make the state directories of nodes whose store is the database ``url``; LocalError."""
    nodes = [Node(folder, name) for name in names]
    first, *others = nodes
    options = ["--store", url, "--uri", f"coap://127.0.0.1:{first.address[1]}", "--realm", REALM]
    dpe("init", first.path, "--node", first.name, *options, *(["--one-machine"] if one_machine else []))
    for node in others:
        dpe("init", node.path, "--node", node.name, "--join", first.path)
    return nodes


@contextmanager
def serving(nodes: Sequence[Node]) -> Iterator[None]:
    """Run the nodes."""
    with ExitStack() as running:
        for node in nodes:
            running.enter_context(node.process)
        yield


def dpe(*arguments: str | Path) -> str:
    """Run a `dpe` command, and return what it prints; LocalError with what it says if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "dpe_tools", *arguments], check=False, capture_output=True, text=True,
        start_new_session=True,
    )  # fmt: skip
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()
        raise LocalError(words[0] if words else f"dpe {arguments[0]} failed: {done.returncode}")
    return done.stdout
