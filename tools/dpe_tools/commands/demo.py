"""`dpe demo`: shows in a minute what this is, with the real code, and checks everything that it says."""

import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click

from dpe_coap import messages
from dpe_coap.client_ids import client_id_text
from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei
from dpe_coap.keys import KEY_SIZE, RequestStep
from dpe_server.operation.credential import Credential
from dpe_tools import annotate, terminal
from dpe_tools.commands.sessions import print_table
from dpe_tools.stage import Seen, Stage
from dpe_tools.verify import Chain, verify

LOSS = 0.3
SEED = 467
"""Loses a request and an answer within a few seconds. Any other seed works, but takes longer."""
SHORT_ACK_TIMEOUT = 500
"""Milliseconds, instead of CoAP's 2 s, so that watching a lossy link does not take a minute."""
PAYLOADS = {"REQUEST": 61, "RESPONSE": 72, "SUCCESS": 32, "CONFIRM": 29}
REQUEST_OVERHEAD, RESPONSE_OVERHEAD = 20, 7
"""Bytes that CoAP adds to a payload, besides its token: header, options and payload marker."""
ACTIVATE = ". .venv/bin/activate"
UNAUTHORIZED = 0x81
EXAMPLE_IMEI = "490154203237518"
"""The IMEI that specifications use as an example."""
TEST_TAC = "00101700"
"""A TAC of the reporting body for tests (00). No device on the market has one of these IMEIs."""


class Demo:
    """The scenes, in order. Each claim is checked; a wrong one ends the demo."""

    def __init__(self, stage: Stage, seed: int, prepare: str) -> None:
        self._stage = stage
        self._prepare = prepare
        self._seed = seed
        self._out = terminal.console()
        self._checks: list[str] = []
        self._claims = 0

    def run(self) -> None:
        """Play all scenes."""
        start = time.monotonic()
        self._out.print("OMA Device Profile Evolution, interface DPE-1, over CoAP", style="bold")
        self._print("A device proves who it is without sending its IMEI, and gets its DPE Client ID.")
        self._print(f"The server runs on {self._stage.uri}, in a process of its own, with throw-away keys.")
        self._print("The devices run the code that runs on a board; a UDP relay in between sees every datagram.")
        first = self._registration()
        second = self._lossy_link()
        self._impostor()
        self._what_the_server_holds({first, second})
        took = time.monotonic() - start
        self._out.print(f"\nEverything shown was checked: {self._claims} checks, {took:.1f} s.", style="bold green")
        self._print(
            f"Go on with: {self._prepare}dpe demo --keep, which leaves the server running; or for good: dpe init STATE"
        )

    def _registration(self) -> str:
        self._scene("1. A device registers: two round trips, both sides authenticated")
        seen: list[Seen] = []
        device = self._device(1)
        done = self._stage.register(device, seen.append)
        for datagram in seen:
            self._message(datagram)
        names = [annotate.name_of(datagram.coap.payload) for datagram in seen]
        self._check(f"four datagrams: {', '.join(PAYLOADS)}", names == list(PAYLOADS))
        payload_sizes = list(PAYLOADS.values())
        sizes = [len(datagram.datagram) for datagram in seen]
        self._check(f"payloads of {_and(payload_sizes)} bytes", [len(d.coap.payload) for d in seen] == payload_sizes)
        self._check(f"datagrams of {_and(sizes)} bytes", sizes == [_size(datagram) for datagram in seen])
        payloads = [datagram.coap.payload for datagram in seen]
        start = RequestStep.of(device.device_key, device.realm)
        packed = Imei.parse(_imei(1)).packed
        self._check("the IMEI is in none of them", not any(packed in datagram.datagram for datagram in seen))
        chain = Chain(*payloads[:3])
        valid = [verify(start, messages.decode(payload), payload, chain).valid for payload in payloads]
        self._check("the four security tokens are valid, by code that is not the device's", valid == [True] * 4)
        assert done is not None
        client_id = self._registered(done.client_id, f"{sum(sizes)} bytes above UDP in {seen[-1].at * 1000:.0f} ms")
        self._tell_checks()
        return client_id

    def _lossy_link(self) -> str:
        self._scene(f"2. The same over a link that loses {LOSS:.0%} (seed {self._seed})")
        self._print(f"CoAP's ACK_TIMEOUT is {SHORT_ACK_TIMEOUT / 1000:g} s here, not 2 s, to spare you the wait.")
        seen: list[Seen] = []

        def each(datagram: Seen) -> None:
            seen.append(datagram)
            self._line(datagram)

        options = {"ack_timeout": SHORT_ACK_TIMEOUT, "backoff": SHORT_ACK_TIMEOUT}
        done = self._stage.register(self._device(2), each, loss=LOSS, seed=self._seed, **options)
        lost = sum(datagram.lost for datagram in seen)
        assert done is not None
        asked: dict[bytes, bytes] = {}
        answers: dict[bytes, set[bytes]] = {}
        for coap, from_client in ((datagram.coap, datagram.from_client) for datagram in seen):
            if from_client:
                asked[coap.coap_token] = coap.payload
            else:
                answers.setdefault(asked[coap.coap_token], set()).add(coap.payload)
        if any(datagram.repeated and not datagram.from_client for datagram in seen):
            same = all(len(different) == 1 for different in answers.values())
            self._check("a message sent again was answered with the same bytes", same)
        client_id = self._registered(done.client_id, f"{lost} of {len(seen)} datagrams were lost")
        self._check("two devices, two sessions, no matter what was sent twice", len(self._client_ids()) == 2)
        self._tell_checks()
        return client_id

    def _impostor(self) -> None:
        self._scene("3. An impostor: the handle of a real device, overheard, but not its key")
        before = self._client_ids()
        impostor = replace(self._device(3), device_key=os.urandom(KEY_SIZE))
        seen: list[Seen] = []

        def each(datagram: Seen) -> bool:
            seen.append(datagram)
            self._line(datagram)
            return not datagram.from_client

        self._stage.register(impostor, each, deadline=10)
        answer = seen[-1].coap
        self._check("the answer is 4.01 Unauthorized", answer.code == UNAUTHORIZED)
        self._check("it has no payload that would say why", answer.payload == b"")
        self._check("the server has stored no session for it", self._client_ids() == before)
        self._out.print("refused: the server says nothing that it would not say to a stranger", style="bold")
        self._tell_checks()

    def _what_the_server_holds(self, expected: set[str]) -> None:
        self._scene("4. What the server holds now (dpe sessions)")
        sessions = self._stage.sessions()
        print_table(sessions, int(time.time()))
        found = [client_id_text(session.client_id) for session in sessions]
        self._check("these are the two devices that registered, and nobody else", sorted(found) == sorted(expected))
        self._tell_checks()

    def _device(self, number: int) -> Credential:
        return self._stage.provision(_imei(number))

    def _client_ids(self) -> set[str]:
        return {client_id_text(session.client_id) for session in self._stage.sessions()}

    def _registered(self, client_id: bytes | None, how: str) -> str:
        """Check that client and server agree on the session; return its Client ID."""
        self._check("the device has verified CONFIRM", client_id is not None)
        assert client_id is not None
        self._check(
            "the session with that Client ID is in the server's database", client_id.hex() in self._client_ids()
        )
        self._out.print(f"registered: Client ID {client_id.hex()}", style="bold green", end="")
        self._print(f"  ({how})")
        return client_id.hex()

    def _scene(self, title: str) -> None:
        self._out.print(f"\n{title}", style="bold underline")

    def _print(self, text: str) -> None:
        self._out.print(text)

    def _tell_checks(self) -> None:
        """List what has been checked since the last list."""
        self._out.print("checked:", style="green")
        for claim in self._checks:
            self._out.print(f"  {claim}", style="green")
        self._checks.clear()

    def _message(self, seen: Seen) -> None:
        """Print a message with its fields, under the names of the OMA document."""
        message = messages.decode(seen.coap.payload)
        title = annotate.TITLES[annotate.message_type(message)]
        sizes = f"{len(seen.coap.payload)} bytes, {len(seen.datagram)} with CoAP"
        self._arrow(seen, f"{title:<22}")
        self._out.print(f"{sizes:<23} {seen.coap.title}", style="dim")
        for name, meaning in annotate.summary(message):
            self._print(f"      {name:<15} {meaning}")

    def _line(self, seen: Seen) -> None:
        """Print one line for a datagram, and what became of it."""
        self._out.print(f"  {seen.at:6.3f} s ", style="dim", end="")
        name = annotate.name_of(seen.coap.payload) or seen.coap.title
        self._arrow(seen, f"{name:<22}", indent="")
        self._out.print(f"{len(seen.datagram):3d} bytes", end="")
        self._out.print("  lost" if seen.lost else "", style="bold red", end="")
        self._out.print("  the same bytes again" if seen.repeated else "", style="yellow")

    def _arrow(self, seen: Seen, name: str, indent: str = "  ") -> None:
        arrow = "device -> server" if seen.from_client else "device <- server"
        self._out.print(f"{indent}{arrow}  ", style="cyan", end="")
        self._out.print(name, style="bold", end=" ")

    def _check(self, claim: str, holds: bool) -> None:
        if not holds:
            raise LocalError(f"the demo did not go as it says: {claim}", hint="this is a defect of dpe-coap: report it")
        self._checks.append(claim)
        self._claims += 1


@click.command()
@click.option("--keep", is_flag=True, help="Leave the server running until Ctrl-C, and show how to talk to it.")
@click.option("--seed", default=SEED, show_default=True, metavar="N", help="Which datagrams the lossy link loses.")
@click.option("--checkout", is_flag=True, hidden=True, help="It was ./tools/demo, so `dpe` may not be on the PATH yet.")
def demo(keep: bool, seed: int, checkout: bool) -> None:
    """Register devices against a throw-away server: the four messages, a lossy link, an impostor.

    It needs only this machine's loopback interface and leaves nothing behind.

    Exit status 1: something was not as the demo says.
    """
    signal.signal(signal.SIGTERM, _terminated)
    directory = Path(tempfile.mkdtemp(prefix="dpe-demo-"))
    try:
        with Stage(directory) as stage:
            Demo(stage, seed, f"{ACTIVATE}; " if checkout else "").run()
            if keep:
                _keep(stage, directory, checkout)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _keep(stage: Stage, directory: Path, checkout: bool) -> None:
    """Say how to talk to the server, and wait for it to end."""
    path = directory / "device.json"
    path.touch(0o600)
    path.write_text(stage.provision(EXAMPLE_IMEI).to_json() + "\n", encoding="utf-8")
    click.echo(f"\nThe server stays at {stage.uri} until Ctrl-C. In another terminal:")
    if checkout:
        click.echo(f"  cd {Path(sys.prefix).parent}; {ACTIVATE}")
    for command in (
        f"dpe register {path} --trace",
        f"dpe sessions {stage.state}",
        f"dpe provision {stage.state} {EXAMPLE_IMEI}",
        f"dpe policy explain {stage.state} --imei {EXAMPLE_IMEI} --version 2.0",
        f"dpe doctor {stage.state}",
        f"aiocoap-client {stage.uri}/.well-known/core",
    ):
        click.echo(f"  {command}")
    with suppress(KeyboardInterrupt):
        stage.server.process.wait()


def _imei(number: int) -> str:
    return f"{TEST_TAC}{number:06d}"


def _size(seen: Seen) -> int:
    """Return how long a datagram must be for its payload and its CoAP token."""
    overhead = REQUEST_OVERHEAD if seen.from_client else RESPONSE_OVERHEAD
    return overhead + len(seen.coap.coap_token) + len(seen.coap.payload)


def _and(numbers: list[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _terminated(_number: int, _frame: object) -> NoReturn:
    """End as Ctrl-C does, so that the server is stopped and the directory removed."""
    sys.exit(143)
