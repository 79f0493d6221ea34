"""Captures made from the test vectors."""

from pathlib import Path
from typing import Any

from dpe_coap.keys import RequestStep
from dpe_server.net.pcapng import Capture, End, Packet
from dpe_server.operation.credential import Credential
from dpe_tools.datagram import Datagram

CLIENT, SERVER = End(bytes([192, 0, 2, 1]), 40000), End(bytes([192, 0, 2, 2]), 5683)
REGISTER = ((11, b"dpe"), (11, b"register"), (12, b"\x3c"))
CBOR = ((12, b"\x3c"),)


class Script:
    """Exchanges of one client after the other, for a capture."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._packets: list[tuple[Packet, int]] = []
        self._number = 0

    def write(self) -> Path:
        """Write the capture, and return its path."""
        capture = Capture(self._path, "test")
        for packet, microseconds in self._packets:
            capture.write([packet], microseconds)
        capture.close()
        return self._path

    def exchange(self, request: bytes, answer: bytes | None) -> None:
        """Add two datagrams, the second if there is one, with a client of their own."""
        client = End(CLIENT.address, CLIENT.port + self._number)
        self._number += 1
        self._packets.append((Packet(client, SERVER, request), self._number * 1_000_000))
        if answer is not None:
            self._packets.append((Packet(SERVER, client, answer), self._number * 1_000_000 + 1_000))

    def registers(self, one: dict[str, Any]) -> None:
        """Add the messages of one vector, as far as it has them."""
        for asked, answered in (("request", "response"), ("success", "confirm")):
            if one.get(asked):
                self.asks(bytes.fromhex(one[asked]), bytes.fromhex(one.get(answered) or "") or None)

    def asks(self, payload: bytes, answer: bytes | None = None) -> None:
        """Add a payload to /dpe/register, and what answers it."""
        coap_token = self._number.to_bytes(4, "big")
        request = Datagram("CON", 0x02, self._number, coap_token, REGISTER, payload)
        response = None if answer is None else Datagram("ACK", 0x44, self._number, coap_token, CBOR, answer)
        self.exchange(bytes(request), None if response is None else bytes(response))


def credential_of(one: dict[str, Any]) -> Credential:
    """Return the credential of a vector's device."""
    handle, key = bytes.fromhex(one["handle"]), bytes.fromhex(one["k_dev"])
    return Credential("coap://192.0.2.2", one["realm"], handle, key, one["epoch"])


def start_of(one: dict[str, Any]) -> RequestStep:
    """Return the first step of the key schedule of a vector's device."""
    return RequestStep.of(bytes.fromhex(one["k_dev"]), one["realm"])
