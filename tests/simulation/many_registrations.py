"""Many registrations on MicroPython, over a bad link, with a real server; every one is compared with its database.

    python -m tests.simulation.many_registrations 10000 --seed 1

Prints the figures. The exit status is 1, and what is wrong is printed, if a device was REGISTERED without a durable
session with the same Client ID and keys, if the server has a session that no device has, or if a device did not
register in the end. The link draws its faults from the seed, but when they strike depends on the clock, so a seed only
repeats the kind of run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import IO

from dpe_coap.client_ids import client_id_of
from dpe_coap.imei import Imei
from dpe_server.operation.credential import credential
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.opening import open_store
from dpe_tools.faults import Faults
from dpe_tools.relay import Relay
from dpe_tools.server_process import ServerProcess

ROOT = Path(__file__).resolve().parent.parent.parent
DEVICES = Path(__file__).with_name("many_devices.py")
FAULTS = Faults(loss=0.2, duplication=0.3, reordering=0.3, corruption=0.01, hold=0.03)
ACK_TIMEOUT, BACKOFF, DEADLINE = 20, 20, 200
"""Milliseconds. The first is a hundredth of CoAP's; the last is short, so that some attempts fail.""" ""
HEAP = ["-X", "heapsize=32m"]
"""Room for the credentials and the storage of all devices, but not for the client."""
REPEATS = 4
"""Registrations of each device."""


@dataclass
class Report:
    """The result of the registrations."""

    registrations: int
    attempts: Counter[int] = field(default_factory=Counter)
    """How many registrations succeeded at the first attempt, at the second, and so on."""
    failures: Counter[str] = field(default_factory=Counter)
    """The states in which unsuccessful attempts ended."""
    datagrams: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        """Some lines for a person."""
        registered = sum(self.attempts.values())
        lines = [
            f"{registered} of {self.registrations} registrations ended REGISTERED, in {self.seconds:.0f} s",
            f"  at the first attempt: {self.attempts[1]}; after that: {registered - self.attempts[1]}"
            f" (the most attempts: {max(self.attempts, default=0)})",
            f"  attempts that failed cleanly, by state: {dict(self.failures)}",
            f"  datagrams: {dict(self.datagrams)}",
            f"  faults: {len(self.faults)}",
        ]
        return "\n".join(lines + self.faults[:20])


class Check:
    """Compares what the devices say with the server's database, while they say it."""

    def __init__(self, state: StateDir, imeis: list[Imei], report: Report) -> None:
        self._store = open_store(state.store_url)
        self._at_rest = state.at_rest
        self._devices = [self._at_rest.device_id(imei) for imei in imeis]
        self._report = report
        self._registered: dict[int, int] = {}

    def line(self, line: str) -> None:
        """Take the result of one registration."""
        number, attempt, state, *session = line.split()
        if state != "REGISTERED":
            self._report.failures[state] += 1
            return
        self._report.attempts[int(attempt)] += 1
        client_id, keys = map(bytes.fromhex, session)
        self._registered[int(number)] = client_id_of(client_id)
        row = self._store.session(client_id_of(client_id))
        if row is None:
            self._fault(number, "is REGISTERED, and the server has no session with its Client ID")
        elif row.device != self._devices[int(number)]:
            self._fault(number, "is REGISTERED with the Client ID of another device")
        elif sha256(self._at_rest.open_keys(row.sealed_keys, row.client_id)).digest() != keys:
            self._fault(number, "has other keys than the server")

    def end(self) -> None:
        """Check that there is one session for each device, and no other."""
        registered = sum(self._report.attempts.values())
        if registered != self._report.registrations:
            self._report.faults.append(f"{self._report.registrations - registered} did not register in the end")
        held = [(session.device, session.client_id) for session in self._store.live(int(time.time()))]
        expected = {(self._devices[number], client_id) for number, client_id in self._registered.items()}
        if set(held) != expected or len(held) != len(expected):
            self._report.faults.append("the server's sessions are not those of the devices")
        self._store.close()

    def _fault(self, number: str, text: str) -> None:
        self._report.faults.append(f"device {number} {text}")


@contextmanager
def _running(command: list[str], errors: IO[bytes]) -> Iterator[Iterator[str]]:
    """Run a program and yield the lines that it prints."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.terminate()


def run(
    registrations: int, seed: int, micropython: str, directory: Path, faults: Faults = FAULTS, *, progress: int = 0
) -> Report:
    """Do the registrations in a new state directory. Report after each ``progress`` of them, unless it is 0."""
    report = Report(registrations)
    imeis = [Imei.parse(f"00101700{number:06d}") for number in range(max(1, registrations // REPEATS))]
    state = StateDir.create(directory / "state", "many", "coap://127.0.0.1")
    check = Check(state, imeis, report)

    def tap(sender: str, _datagram: bytes, lost: bool) -> None:
        report.datagrams[f"of the {sender}s" if sender == "client" else "of the server"] += 1
        report.datagrams["lost"] += lost

    start = time.monotonic()
    errors = directory / "errors"
    with (
        ServerProcess(state.path, directory / "server.log") as server,
        Relay(server.address, faults, seed=seed, tap=tap) as relay,
        errors.open("wb") as stderr,
    ):
        uri = f"coap://{relay.address[0]}:{relay.address[1]}"
        credentials = directory / "credentials"
        credentials.touch(0o600)
        made = (replace(credential(state.keys, state.config, imei), server=uri) for imei in imeis)
        credentials.write_text("".join(one.to_json() + "\n" for one in made), encoding="utf-8")
        times = map(str, (registrations, ACK_TIMEOUT, BACKOFF, DEADLINE))
        with _running([micropython, *HEAP, str(DEVICES), str(credentials), *times], stderr) as lines:
            for count, line in enumerate(lines, 1):
                check.line(line)
                if progress and count % progress == 0:
                    print(f"{count} attempts, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    said = errors.read_text(encoding="utf-8", errors="replace").strip()
    if said:
        report.faults.append(f"MicroPython said: {said[-500:]}")
    log = (directory / "server.log").read_text(encoding="utf-8").splitlines()
    report.faults += [f"the server said: {line}" for line in log if "[info" not in line]
    check.end()
    report.seconds = time.monotonic() - start
    return report


def main() -> int:
    """Run from the command line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("registrations", type=int, nargs="?", default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--micropython",
        default=os.environ.get("DPE_MICROPYTHON", str(ROOT / ".cache" / "micropython" / "micropython")),
        metavar="PROGRAM",
        help="the interpreter (default: that of tools/fetch_micropython)",
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dpe-many-") as directory:
        report = run(arguments.registrations, arguments.seed, arguments.micropython, Path(directory), progress=500)
    print(report)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
