"""Lets devices on MicroPython register with a real server, and counts what the server's store confirms."""

import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dpe_bench.device.contenders import Contender
from dpe_bench.device.interpreter import Interpreter, lines_of
from dpe_coap.client_ids import client_id_text
from dpe_tools.stage import Stage

TEST_TAC = "00101700"
"""A TAC of the reporting body for tests (00): these IMEIs belong to no device that was sold."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of some registrations."""

    tried: int
    registered: int
    """The client said so, and the server's store has a session with that Client ID."""
    wrong: int
    """The client said so, and the store has none."""
    taken: int | None
    """Datagrams that the client's CoAP layer took for a response; None if they were not counted."""


class Ground:
    """A server, an interpreter, and as many devices as are wanted, each new."""

    def __init__(self, stage: Stage, interpreter: Interpreter) -> None:
        self.stage = stage
        self.interpreter = interpreter
        self._serial_numbers = itertools.count(1)

    @property
    def server(self) -> tuple[str, int]:
        """The server's address."""
        return self.stage.server.address

    def devices(self, count: int) -> Path:
        """Provision new devices; return the file of their credentials."""
        lines = []
        for number in itertools.islice(self._serial_numbers, count):
            made = self.stage.provision(f"{TEST_TAC}{number:06d}")
            lines.append(f"{made.realm} {made.handle.hex()} {made.device_key.hex()}\n")
        with tempfile.NamedTemporaryFile("w", dir=self.interpreter.folder, delete=False) as file:  # of mode 0600
            file.writelines(lines)
        return Path(file.name)

    def arguments(self, contender: Contender, count: int, address: tuple[str, int], ack_timeout: int) -> list[object]:
        """Return what a contender's program is called with, to register new devices at an address."""
        return [self.devices(count), *address, ack_timeout, contender.limit(ack_timeout)]

    def register(
        self,
        contender: Contender,
        count: int,
        address: tuple[str, int],
        ack_timeout: int,
        *,
        workers: int = 1,
        counted: bool = False,
        heap: int | None = None,
    ) -> Outcome:
        """Register new devices, by some processes at once; with ``heap`` bytes each, and then it may fail."""
        program = contender.counted if counted else contender.program
        shares = [len(range(worker, count, workers)) for worker in range(workers)]
        running = [
            self.interpreter.start(program, *self.arguments(contender, share, address, ack_timeout), heap=heap)
            for share in shares
            if share
        ]
        try:
            lines = [line.split() for process in running for line in lines_of(process, failing=heap is not None)]
        finally:
            for process in running:
                process.kill()
                process.wait()
        said = [client_id for client_id, _ in lines if client_id != "-"]
        stored = {client_id_text(session.client_id) for session in self.stage.sessions()}
        registered = len(stored.intersection(said))
        taken = sum(int(taken) for _, taken in lines) if counted else None
        return Outcome(count, registered, len(said) - registered, taken)
