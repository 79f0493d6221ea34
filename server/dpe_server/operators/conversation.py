"""The last registration of a device, message by message: when each came, and how large it was.

What is known of it is in the audit log, and in the session that it made. A capture, if there is one, has each datagram.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dpe_coap.errors import DpeError
from dpe_coap.messages import Message, Request, decode
from dpe_server.coap.datagram import Rejected, read_options
from dpe_server.coap.options import Option
from dpe_server.operators import capture_file
from dpe_server.operators.capture_file import Captured
from dpe_server.store.contract import Session

LONGEST = 300.0
"""Seconds that a registration takes at most."""
MOST_STEPS = 60
"""The most arrows that are drawn."""
FIRST_CONTACT = "first contact"


@dataclass(frozen=True, slots=True)
class Arrow:
    """One message."""

    name: str
    up: bool
    """From the device to the server."""
    at: float | None
    """Unix seconds; None: not known."""
    size: int | None = None
    """Bytes of the CoAP message, which is what a datagram carries; None: not known."""
    payload: int | None = None
    """Bytes of the message of DPE-1 in it; None: not known, or it has none."""
    note: str = ""
    """What the server decided."""
    again: bool = False
    """Whether it is the same as one before."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A registration as far as it is known."""

    arrows: list[Arrow]
    missing: list[str]
    """What is not known, and why, in sentences."""
    captured: bool
    """Whether the sizes are those of a capture."""


def registration_of(session: Session, lines: Sequence[dict[str, Any]], capture: Path | None) -> Registration:
    """Return the registration that has made a session. ``lines`` are those that the audit log has of it."""
    own = [line for line in lines if line.get("registration") == session.ordinal]
    events = {line["event"]: line for line in reversed(own)}
    missing = []
    if "response" not in events and "established" not in events:
        missing.append("The audit log does not go back as far as this registration, so its times are not known.")
    packets: list[Captured] = []
    if capture is None:
        missing.append("No capture was given (--pcap): only the size of CONFIRM is known, and not what was sent again.")
    else:
        try:
            packets = conversation(capture_file.backwards(capture), session.confirm)
        except DpeError as error:
            missing.append(f"The capture cannot be read: {error}.")
        else:
            if not packets:
                missing.append("The capture has nothing of this registration: it began later, or is of another server.")
    notes = {
        "RESPONSE": _decided(events.get("response")),
        "CONFIRM": "the session is in the database" if "established" in events else "",
    }
    if packets:
        arrows = list(_of_packets(packets, notes))
    else:
        decided, done = _time(events.get("response")), _time(events.get("established"))
        arrows = [
            Arrow("REQUEST", True, decided),
            Arrow("RESPONSE", False, decided, note=notes["RESPONSE"]),
            Arrow("SUCCESS", True, done),
            Arrow("CONFIRM", False, done, payload=len(session.confirm), note=notes["CONFIRM"]),
        ]
    if "first-contact" in events:
        arrows.append(Arrow(FIRST_CONTACT, True, _time(events["first-contact"]), note="under OSCORE"))
    return Registration(arrows[:MOST_STEPS], missing, bool(packets))


def conversation(packets: Iterable[Captured], confirm: bytes) -> list[Captured]:
    """Return the datagrams of the registration that ended with this CONFIRM, in their order.

    ``packets`` are those of a capture, the last one first.
    """
    found: list[Captured] = []
    for packet in packets:
        if not found:
            if packet.datagram.endswith(confirm):
                found.append(packet)
            continue
        last = found[0]
        if last.at - packet.at > LONGEST:
            break
        ends = {packet.source, packet.destination}
        if ends == {last.source, last.destination}:
            found.append(packet)
        if len(found) == MOST_STEPS:
            break
    return _since_request(list(reversed(found)))


def _since_request(found: list[Captured]) -> list[Captured]:
    """Return what belongs to the last registration: from the first REQUEST that is the same as the last one."""
    requests = [packet for packet in found if isinstance(_message(packet.datagram), Request)]
    if not requests:
        return found
    wanted = _payload(requests[-1].datagram)
    first = next(packet for packet in requests if _payload(packet.datagram) == wanted)
    return found[found.index(first) :]


def _of_packets(packets: Sequence[Captured], notes: dict[str, str]) -> Iterator[Arrow]:
    seen: set[bytes] = set()
    server = packets[0].destination
    for packet in packets:
        message = _message(packet.datagram)
        payload = _payload(packet.datagram)
        name = type(message).__name__.upper() if message is not None else _other(packet.datagram)
        again = packet.datagram in seen
        yield Arrow(
            name=name,
            up=packet.destination == server,
            at=packet.at,
            size=len(packet.datagram),
            payload=len(payload) or None,
            note="sent again" if again else notes.get(name, ""),
            again=again,
        )
        seen.add(packet.datagram)


def _other(datagram: bytes) -> str:
    if len(datagram) < 4:
        return "not CoAP"
    code = datagram[1]
    if code == 0:
        return {2: "acknowledgement", 3: "reset"}.get(datagram[0] >> 4 & 3, "ping")
    return f"{code >> 5}.{code & 31:02d}" if code >= 32 else "request"


def _message(datagram: bytes) -> Message | None:
    payload = _payload(datagram)
    try:
        return decode(payload) if payload else None
    except DpeError:
        return None


def _payload(datagram: bytes) -> bytes:
    """Return the payload of a CoAP message in clear, or nothing."""
    if len(datagram) < 4 or datagram[0] >> 6 != 1:
        return b""
    try:
        options, _, payload = read_options(datagram, 4 + (datagram[0] & 15), Rejected(None))
    except (Rejected, IndexError):
        return b""
    return b"" if Option.OSCORE in options else payload


def _decided(line: dict[str, Any] | None) -> str:
    if line is None:
        return ""
    told = f"{line.get('status', '')}, by “{line.get('rule', '')}”"
    return f"{told}, DPE {line['version']}" if "version" in line else told


def _time(line: dict[str, Any] | None) -> float | None:
    try:
        return None if line is None else datetime.fromisoformat(line["time"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None
