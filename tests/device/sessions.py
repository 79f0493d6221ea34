"""A registered device and the other end of its session, both driven by the test. Runs on MicroPython, too."""

from dpe_device import messages
from dpe_device.aes import AES
from dpe_device.oscore import Context
from dpe_device.session import Session
from tests.device.scripted import CHANGED, CLIENT_ID, CREDENTIAL, UNAUTHORIZED, Bench, Sent, answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GET, POST, DELETE = 1, 2, 4
CONTENT, DELETED = 0x45, 0x42


class Said:
    """Stands for a reporter: reports what the test says, and remembers what became of it."""

    def __init__(self) -> None:
        self.report = b"\xa0"
        self.made: list[tuple[int, int]] = []
        self.results: list[tuple[int, bytes]] = []
        self.lifetime: int | None = None
        self.trouble: Exception | None = None

    def make(self, now: int, session: int) -> bytes:
        self.made.append((now, session))
        return self.report

    def done(self, code: int, answer: bytes, lifetime: "int | None") -> "int | None":
        if self.trouble:
            raise self.trouble
        self.results.append((code, answer))
        return self.lifetime if answer else lifetime


class Request:
    """A request of the device, opened."""

    def __init__(self, sent: Sent, context: Context) -> None:
        datagram = sent.bytes
        assert sent.code == POST
        self.sent = sent
        head = datagram[8]
        assert head >> 4 == 9  # the one outer option is OSCORE's
        size, at = (datagram[9] + 13, 10) if head & 15 == 13 else (head & 15, 9)
        option = datagram[at : at + size]
        assert option[0] == 8 | size - 8
        assert option[-7:] == CLIENT_ID
        self.iv = option[1:-7]
        self.number = int.from_bytes(self.iv, "big")
        assert datagram[at + size] == 0xFF
        ciphertext = datagram[at + size + 1 :]
        context.protect(self.number, 0, b"")
        text = context._count(context._request, ciphertext[:-8], 1)
        assert context._tag(context._request, text) == ciphertext[-8:]
        self.text = text
        self.method = text[0]
        assert text[1:5] == b"\xb3dpe"
        self.payload = text[8:]
        assert text[5:8] == (b"\x11\x3c\xff" if self.method == POST else b"")


class SessionBench(Bench):
    """A device in its session. The server's end has keys of its own making."""

    def boot(self) -> None:
        """Power on."""
        self.said = Said()
        session = Session(dict(CREDENTIAL), self.storage, self.chance, **self.options)
        session.aes = AES
        session.reporter = self.said
        self.registration = self.session = session
        self.connections = 0
        self.wake: int | None = self.now
        self.entered: list[str] = []

    def opened(self, lifetime: "int | None" = 86400, wish: int = 0) -> "SessionBench":
        """Register: READY, or REPORTING at once when the clock's first minute is over."""
        if wish:
            self.session.want(wish)
        success = self.offered()
        assert self.step(answer(success, self.server.confirm(success.payload, 0, lifetime))) is None
        assert self.state in ("READY", "REPORTING")
        self.context = self.keys()
        return self

    def keys(self) -> Context:
        return Context(CLIENT_ID, messages.export(self.server.prk3, self.server.th3), AES)

    def asked(self) -> Request:
        """Let the device send its next request, for the first time."""
        self.wake = self.session.due  # `want` has moved it
        for _ in range(3):
            sent = self.wait()
            if sent is not None:
                return Request(sent, self.context)
        raise AssertionError("nothing was sent")

    def protected(self, request: Request, code: int = CHANGED, payload: bytes = b"", **where: "Any") -> bytes:
        """A datagram with a protected response."""
        self.context.protect(request.number, 0, b"")
        text = bytes((code,)) + (b"\xc1\x3c\xff" + payload if payload else b"")
        sealed = self.context._count(self.context._response, text, 1) + self.context._tag(self.context._response, text)
        return answer(request.sent, sealed, options=((9, b""),), **where)

    def reply(self, request: Request, code: int = CHANGED, payload: bytes = b"", **where: "Any") -> "Sent | None":
        """Answer under protection."""
        return self.step(self.protected(request, code, payload, **where))

    def refuse(self, request: Request, code: int = UNAUTHORIZED, **where: "Any") -> None:
        """Answer without protection."""
        assert self.step(answer(request.sent, code=code, **where)) is None

    def report(self, code: int = CHANGED, payload: bytes = b"") -> Request:
        """Report, and be answered."""
        self.session.want(POST)
        request = self.asked()
        assert request.method == POST
        self.reply(request, code, payload)
        assert self.state == "READY"
        return request
