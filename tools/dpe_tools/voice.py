"""The voice of a device in its session, on this machine: what a person, or a program, wants it to say.

The session is the device's own (``dpe_device.session``): its numbers, what it saves before it sends, what it believes,
and when it tries again. Here is what that leaves to its application: AES, what is reported, and what became of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

import cbor2
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from dpe_coap.binding import Code
from dpe_coap.errors import RemoteError
from dpe_coap.session_messages import Answer, Property, Value, decode_answer, encode_report
from dpe_device.reporter import Reporter
from dpe_device.session import Session

ERROR = 0x80
"""The least CoAP code of an error."""


class Method(IntEnum):
    """What a device can ask for, as ``Session.want`` takes it: the code of the inner request."""

    GET = Code.GET
    """To be told what to report."""
    REPORT = Code.POST
    END = Code.DELETE


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server has answered, under protection."""

    code: int
    answer: Answer | None = None
    """What the device is to report, and how long its session lives; None: that was not told."""
    problem: str = ""
    """What is wrong with the request, in the server's words."""

    @property
    def done(self) -> bool:
        """Whether the server did what was asked."""
        return self.code < ERROR


class _Aes:
    """AES-128 of single blocks, as ``dpe_device.oscore`` builds AES-CCM from them."""

    def __init__(self, key: bytes) -> None:
        self.encrypt = Cipher(AES(key), ECB()).encryptor().update  # noqa: S305  # of CCM's blocks, each another one


class Voice:
    """A session's reporter: it reports ``properties`` with each request that is a report, and keeps the last reply."""

    def __init__(self) -> None:
        self.properties: Mapping[Property, Value] = {}
        """What is reported next; empty: a refresh."""
        self.policy_etag: bytes | None = None
        """Of what the device was told last, 4 bytes; None: nothing yet, or it is to be told again."""
        self.reply: Reply | None = None
        """The last; whoever asks again sets it to None before."""

    def make(self, _now: int, _session: int) -> bytes:
        """Return the report. LocalError names what no server would accept."""
        return encode_report(self.properties or None, self.policy_etag)

    def done(self, code: int, payload: bytes, lifetime: int | None) -> int | None:
        """Take a protected response; return the session's lifetime as it is then, in seconds or None."""
        answer = None
        if code < ERROR and payload:
            try:
                self.policy_etag, answer = decode_answer(payload)
                lifetime = answer.lifetime
            except RemoteError:
                pass  # it is done all the same, and what was told before stays
        self.reply = Reply(code, answer, _problem(payload) if code >= ERROR else "")
        return lifetime


_Session = TypeVar("_Session", bound=Session)


def session(credential: Any, storage: Any, entropy: Any, voice: Voice, **options: Any) -> Session:
    """Return a device that goes on where ``storage`` says: READY with a session, IDLE without one.

    ``credential`` and ``options`` are as for ``dpe_device.registration.Registration``.
    """
    return given(Session(credential, storage, entropy, **options), voice)


def given(made: _Session, voice: Voice | Reporter) -> _Session:
    """Return a device's session, given what it needs before its first step."""
    made.aes = _Aes
    made.reporter = voice
    return made


def _problem(payload: bytes) -> str:
    """Return title and detail of a concise problem details payload (RFC 9290), as far as it has them."""
    try:
        found = cbor2.loads(payload)
    except Exception:  # cbor2 raises many kinds, some of them not its own
        return ""
    told = [found.get(key) for key in (-1, -2)] if isinstance(found, dict) else []
    return ": ".join(text for text in told if isinstance(text, str))
