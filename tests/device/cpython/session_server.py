"""A server that verifies: registration by the scripted one, the session by the protocol's shared code. No network."""

from dpe_coap import oscore, session_messages
from dpe_coap.errors import RemoteError
from dpe_coap.session_messages import Answer, Items, Policies
from dpe_device import messages
from tests.device.scripted import CHANGED, CLIENT_ID, UNAUTHORIZED, Sent, Server, answer

GET, POST, DELETE = 1, 2, 4
REPEATS = 4


class BadMac(Exception):
    """No REQUEST that is known belongs to this SUCCESS."""


class Session:
    """What a server keeps of a session: keys, mark, record, and the last answer."""

    def __init__(self, keys: oscore.Keys) -> None:
        self.keys = keys
        self.mark = 0
        self.record: Items = {}
        self.over = False
        self.last: tuple[bytes, bytes, int] = (b"", b"", 0)
        """The last request, without its header, its answer's ciphertext, and how often that may go out."""


class SessionServer:
    """Takes datagrams, returns what to answer. All REQUESTs and SUCCESSes are accepted."""

    def __init__(self) -> None:
        self.answer = Answer({0: {}}, 86400)
        self.asked: dict[bytes, tuple[Server, bytes]] = {}
        self.confirmed: dict[bytes, bytes] = {}
        self.session: Session | None = None
        self.accepted: list[tuple[int, int, Items | None]] = []
        """For each request that was accepted: the number of its session, its own number, and what was reported."""
        self.sessions = 0
        self.refused = 0

    def policies(self, policies: Policies, lifetime: int | None = 86400) -> None:
        """Change what devices are told."""
        self.answer = Answer(policies, lifetime)

    def take(self, datagram: bytes) -> bytes | None:
        """Answer a datagram; what is no request of this protocol gets nothing."""
        if len(datagram) < 10 or datagram[0] != 0x44 or datagram[1] != POST:
            return None
        if datagram[8] >> 4 == 9:
            return self._session(datagram)
        sent = Sent(datagram)
        if len(sent.payload) == 32:
            try:
                return answer(sent, self._confirm(sent.payload))
            except BadMac:
                return answer(sent, code=UNAUTHORIZED)
        if sent.payload[:5] == b"\xa4\0\1\1\x51":
            if sent.payload not in self.asked:
                server = Server()
                self.asked[sent.payload] = server, server.response(sent.payload)
            return answer(sent, self.asked[sent.payload][1])
        return answer(sent, code=UNAUTHORIZED)

    def _confirm(self, success: bytes) -> bytes:
        if success in self.confirmed:
            return self.confirmed[success]
        for server, _ in self.asked.values():
            try:
                confirm = server.confirm(success, 0, self.answer.lifetime)
            except ValueError:
                continue
            self.confirmed[success] = confirm
            self.session = Session(oscore.derive(*messages.export(server.prk3, server.th3), CLIENT_ID))
            self.sessions += 1
            return confirm
        raise BadMac

    def _session(self, datagram: bytes) -> bytes:
        sent = Sent(datagram)
        refusal = answer(sent, code=UNAUTHORIZED)
        size, at = (datagram[9] + 13, 10) if datagram[8] & 15 == 13 else (datagram[8] & 15, 9)
        rest = datagram[at:]
        ciphertext = datagram[at + size + 1 :]
        session = self.session
        try:
            client_id, number = oscore.read_option(datagram[at : at + size])
        except RemoteError as error:
            return answer(sent, code=error.code)
        if session is None or session.over or client_id != CLIENT_ID:
            return refusal
        if rest == session.last[0] and session.last[2]:
            session.last = *session.last[:2], session.last[2] - 1
            return answer(sent, session.last[1], options=((9, b""),))
        nonce = oscore.nonce(session.keys.common_iv, CLIENT_ID, number)
        data = oscore.additional_data(CLIENT_ID, number)
        text = oscore.decrypt(session.keys.client, nonce, data, ciphertext)
        if text is None or number <= session.mark:
            self.refused += 1
            return refusal
        session.mark = number  # and now it is durable
        reply = self._inner(session, number, text)
        sealed = oscore.encrypt(session.keys.server, nonce, data, reply)
        session.last = rest, sealed, REPEATS
        return answer(sent, sealed, options=((9, b""),))

    def _inner(self, session: Session, number: int, text: bytes) -> bytes:
        assert text[1:5] == b"\xb3dpe"
        reported: Items | None = None
        told = b"\xc1\x3c\xff" + self.answer.encode()
        if text[0] == POST:
            assert text[5:8] == b"\x11\x3c\xff"
            report = session_messages.decode_report(text[8:])  # the device sends nothing that is refused
            reported = report.properties
            session.record = {**session.record, **(reported or {})}
            reply = bytes((CHANGED,)) + (b"" if report.policy_etag == self.answer.policy_etag else told)
        elif text == b"\4\xb3dpe":
            session.over = True
            reply = b"\x42"
        else:
            assert text == b"\1\xb3dpe"
            reply = b"\x45" + told
        self.accepted.append((self.sessions, number, reported))
        return reply
