"""`dpe demo`: shows in a minute what this is, with the real code, and checks everything that it says."""

import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click

from dpe_coap import messages
from dpe_coap.client_ids import client_id_text
from dpe_coap.imei import Imei
from dpe_coap.keys import KEY_SIZE, RequestStep
from dpe_server.operation.credential import Credential
from dpe_tools import annotate
from dpe_tools.narrator import Narrator
from dpe_tools.recording import Recording, option
from dpe_tools.session_list import print_table
from dpe_tools.session_scenes import POLICY, SessionScenes
from dpe_tools.stage import Seen, Stage
from dpe_tools.talk import Talk
from dpe_tools.verify import Chain, verify

LOSS = 0.3
SEED = 467
"""Loses a request and an answer within a few seconds. Any other seed works, but takes longer."""
SHORT_ACK_TIMEOUT = 500
"""Milliseconds, instead of CoAP's 2 s, so that watching a lossy link does not take a minute."""
PAYLOADS = {"REQUEST": 61, "RESPONSE": 72, "SUCCESS": 32, "CONFIRM": 23}
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
        self._narrator = Narrator()
        self._devices: dict[int, Credential] = {}

    def run(self) -> None:
        """Play all scenes."""
        start = time.monotonic()
        self._narrator.say("OMA Device Profile Evolution, interface DPE-1, over CoAP", "bold")
        self._narrator.say("A device proves who it is without sending its IMEI, and gets its DPE Client ID.")
        self._narrator.say(f"The server runs on {self._stage.uri}, in a process of its own, with throw-away keys.")
        self._narrator.say("The devices run the code that runs on a board; a UDP relay in between sees every datagram.")
        with Talk(self._stage, self._device(1)) as talk:
            first = self._registration(talk)
            second = self._lossy_link()
            self._impostor()
            session = SessionScenes(self._stage, talk, self._narrator)
            session.reports(4)
            session.trouble(5)
            self._what_the_server_holds({first, second})
            session.end(7)
        took = time.monotonic() - start
        self._narrator.say(
            f"\nEverything shown was checked: {self._narrator.claims} checks, {took:.1f} s.", "bold green"
        )
        self._narrator.say(
            f"Go on with: {self._prepare}dpe demo --keep, which leaves the server running; or for good: dpe init STATE"
        )

    def _registration(self, talk: Talk) -> str:
        self._narrator.scene("1. A device registers: two round trips, both sides authenticated")
        device = self._device(1)
        seen = talk.register()
        for datagram in seen:
            self._narrator.message(datagram)
        names = [annotate.name_of(datagram.coap.payload) for datagram in seen]
        self._narrator.check(f"four datagrams: {', '.join(PAYLOADS)}", names == list(PAYLOADS))
        payload_sizes = list(PAYLOADS.values())
        sizes = [len(datagram.datagram) for datagram in seen]
        self._narrator.check(
            f"payloads of {_and(payload_sizes)} bytes", [len(d.coap.payload) for d in seen] == payload_sizes
        )
        self._narrator.check(f"datagrams of {_and(sizes)} bytes", sizes == [_size(datagram) for datagram in seen])
        payloads = [datagram.coap.payload for datagram in seen]
        start = RequestStep.of(device.device_key, device.realm)
        packed = Imei.parse(_imei(1)).packed
        self._narrator.check("the IMEI is in none of them", not any(packed in datagram.datagram for datagram in seen))
        chain = Chain(*payloads[:3])
        valid = [verify(start, messages.decode(payload), payload, chain).valid for payload in payloads]
        self._narrator.check(
            "the four security tokens are valid, by code that is not the device's", valid == [True] * 4
        )
        client_id = self._registered(
            talk.session.client_id, f"{sum(sizes)} bytes above UDP in {seen[-1].at * 1000:.0f} ms"
        )
        self._narrator.tell_checks()
        return client_id

    def _lossy_link(self) -> str:
        self._narrator.scene(f"2. The same over a link that loses {LOSS:.0%} (seed {self._seed})")
        self._narrator.say(
            f"CoAP's ACK_TIMEOUT is {SHORT_ACK_TIMEOUT / 1000:g} s here, not 2 s, to spare you the wait."
        )
        seen: list[Seen] = []

        def each(datagram: Seen) -> None:
            seen.append(datagram)
            self._narrator.line(datagram)

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
            self._narrator.check("a message sent again was answered with the same bytes", same)
        client_id = self._registered(done.client_id, f"{lost} of {len(seen)} datagrams were lost")
        self._narrator.check("two devices, two sessions, no matter what was sent twice", len(self._client_ids()) == 2)
        self._narrator.tell_checks()
        return client_id

    def _impostor(self) -> None:
        self._narrator.scene("3. An impostor: the handle of a real device, overheard, but not its key")
        before = self._client_ids()
        impostor = replace(self._device(3), device_key=os.urandom(KEY_SIZE))
        seen: list[Seen] = []

        def each(datagram: Seen) -> bool:
            seen.append(datagram)
            self._narrator.line(datagram)
            return not datagram.from_client

        self._stage.register(impostor, each, deadline=10)
        answer = seen[-1].coap
        self._narrator.check("the answer is 4.01 Unauthorized", answer.code == UNAUTHORIZED)
        self._narrator.check("it has no payload that would say why", answer.payload == b"")
        self._narrator.check("the server has stored no session for it", self._client_ids() == before)
        self._narrator.say("refused: the server says nothing that it would not say to a stranger", "bold")
        self._narrator.tell_checks()

    def _what_the_server_holds(self, expected: set[str]) -> None:
        self._narrator.scene("6. What the server holds now (dpe sessions)")
        sessions = self._stage.sessions()
        print_table(sessions, int(time.time()))
        found = [client_id_text(session.client_id) for session in sessions]
        self._narrator.check(
            "these are the two devices that registered, and nobody else", sorted(found) == sorted(expected)
        )
        self._narrator.tell_checks()

    def _device(self, number: int) -> Credential:
        made = self._devices.get(number)
        if made is None:
            made = self._devices[number] = self._stage.provision(_imei(number))
            if self._stage.recording is not None:
                self._stage.recording.device(made)
        return made

    def _client_ids(self) -> set[str]:
        return {client_id_text(session.client_id) for session in self._stage.sessions()}

    def _registered(self, client_id: bytes | None, how: str) -> str:
        """Check that client and server agree on the session; return its Client ID."""
        self._narrator.check("the device has verified CONFIRM", client_id is not None)
        assert client_id is not None
        self._narrator.check(
            "the session with that Client ID is in the server's database", client_id.hex() in self._client_ids()
        )
        self._narrator.say(f"registered: Client ID {client_id.hex()}", "bold green", end="")
        self._narrator.say(f"  ({how})")
        return client_id.hex()


@click.command()
@click.option("--keep", is_flag=True, help="Leave the server running until Ctrl-C, and show how to talk to it.")
@click.option("--seed", default=SEED, show_default=True, metavar="N", help="Which datagrams the lossy link loses.")
@option
@click.option("--checkout", is_flag=True, hidden=True, help="It was ./tools/demo, so `dpe` may not be on the PATH yet.")
def demo(keep: bool, seed: int, checkout: bool, pcap: str | None) -> None:
    """Show devices and a throw-away server: registration, a lossy link, an impostor, and a session from report to end.

    It needs only this machine's loopback interface and leaves nothing behind but what --pcap names.

    Exit status 1: something was not as the demo says.
    """
    signal.signal(signal.SIGTERM, _terminated)
    directory = Path(tempfile.mkdtemp(prefix="dpe-demo-"))
    try:
        with (
            nullcontext() if pcap is None else Recording(pcap) as recording,
            Stage(directory, POLICY, recording) as stage,
        ):
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
        f"dpe session report {path} battery=86",
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
