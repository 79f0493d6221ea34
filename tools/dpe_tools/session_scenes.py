"""The part of `dpe demo` that follows a registration: reports, policies, a replay, a restart, the end of a session."""

import cbor2

from dpe_coap import oscore
from dpe_coap.binding import Code
from dpe_coap.client_ids import client_id_of
from dpe_coap.session_messages import Property, Value, encode_report
from dpe_server.policy.reporting import described
from dpe_server.policy.vocabulary import Vocabulary
from dpe_server.session.contexts import SIZE_MASTER_SECRET
from dpe_server.store.contract import Session
from dpe_server.store.record import entries
from dpe_tools import properties
from dpe_tools.datagram import OSCORE, Datagram, said_of
from dpe_tools.narrator import Narrator
from dpe_tools.stage import Seen, Stage
from dpe_tools.talk import Talk
from dpe_tools.voice import Method, Reply

POLICY = """\
[[rule]]
name = "DPE 1.x"
version = "1.*"
action = "accept"
range = ["10000000000000", "1fffffffffffff"]

[rule.report]
battery = { st = 10, lt = 20, pmin = 3600, pmax = 86400 }
firmware = {}
roaming = {}
free_memory = { pmax = 86400 }
language = {}
last_reboot = {}

[[rule]]
name = "other versions"
action = "version-not-supported"
highest = "1.0"
"""
OTHER_POLICY = POLICY.replace("st = 10, lt = 20", "st = 5, lt = 15").replace(
    "\n\n[rule.report]", "\nlifetime = 604800\n\n[rule.report]"
)
"""Battery at smaller steps, and sessions that end."""
SIX: dict[Property, Value] = {0: 87, 1: "1.4.2", 2: False, 3: 51_200, 4: "de-DE", 5: 1_767_000_000}
SIZES = {
    "six, without etag": (67, 63),
    "six": (73, 19),
    "six, with other policies back": (73, 69),
    "one": (47, 19),
    "refresh": (42, 19),
    "end": (32, 19),
}
"""Bytes above UDP of a request and of its answer (docs/protocol.md, "The session"). A lifetime takes 6 of an answer."""
REPORT = b"\x02\xb3dpe\x11\x3c\xff"
"""What stands before a report inside: POST, Uri-Path, Content-Format, payload marker."""
REFUSED = 8
"""Bytes of the answer to whoever proves nothing, or repeats too often."""
REPEATS = 4
"""How often an answer is sent again."""


class SessionScenes:
    """Plays with the device of ``talk``, which is registered."""

    def __init__(self, stage: Stage, talk: Talk, narrator: Narrator) -> None:
        self._stage = stage
        self._talk = talk
        self._narrator = narrator
        self._known = Vocabulary()
        assert talk.session.client_id is not None
        self._client_id = talk.session.client_id

    def reports(self, number: int) -> None:
        """The device reports, and hears what to report; a policy changes."""
        self._narrator.scene(f"{number}. Its session: the device reports, and hears what to report, under OSCORE")
        reply, seen = self._ask("six, without etag", Method.REPORT, SIX)
        assert reply.answer is not None
        self._check("the Client ID is in clear, the values are not", self._is_sealed(seen[0]))
        opened = self._open(seen[0]) == REPORT + encode_report(SIX)
        self._check("the keys in the server's database open it, by code that is not the device's", opened)
        self._check("the server's database has the six values", self._held() == SIX)
        self._check("the device was told to report these six", set(reply.answer.policies) == set(SIX))
        etag = self._talk.said.policy_etag
        reply, _ = self._ask("one", Method.REPORT, {0: 76})
        self._check("nothing new to be told: the answer is empty", reply.answer is None)
        self._check("the server's database has 76 % now", self._held() == SIX | {0: 76})
        self._narrator.tell_checks()
        self._narrator.say("The operator changes policy.toml: battery at steps of 5 %, sessions of 7 days (SIGHUP).")
        self._stage.change_policy(OTHER_POLICY)
        reply, _ = self._ask("six, with other policies back", Method.REPORT, SIX)
        answer = reply.answer
        self._check("the change came with the answer to the next report", answer is not None)
        assert answer is not None
        self._check("battery at steps of 5 %, and 7 days", (answer.policies[0][4], answer.lifetime) == (5, 604_800))
        self._check("it has another etag", etag not in (None, self._talk.said.policy_etag))
        self._check("the session ends, unless the device is heard", self._session().lifetime == 604_800)
        self._narrator.tell_checks()

    def trouble(self, number: int) -> None:
        """A datagram is replayed, and the server restarts."""
        self._narrator.scene(f"{number}. A replay, and a restart")
        self._narrator.say("Somebody has recorded a report, and sends it again and again.")
        _, seen = self._ask("six", Method.REPORT, SIX | {0: 71})
        report, answer = seen[0].datagram, seen[-1].datagram
        answers = [self._replay(report) for _ in range(REPEATS + 1)]
        same = all(one.datagram == answer for one in answers[:-1])
        self._check(f"{REPEATS} times it gets the same bytes, as a device does whose answer was lost", same)
        self._refused("then it is refused", answers[-1])
        self._check("the report counts once: the database has 71 %", self._held()[0] == 71)
        self._narrator.say("The server stops and starts again.")
        self._stage.restart()
        self._refused("what was recorded before is refused at once", self._replay(report))
        _, seen = self._ask("refresh", Method.REPORT)
        numbers = {_number(one) for one in seen if one.from_client}
        self._check("the next report is accepted, by the first exchange", len(numbers) == 1)
        self._check("nothing that was reported is lost", self._held() == SIX | {0: 71})
        self._narrator.tell_checks()

    def end(self, number: int) -> None:
        """The device deregisters."""
        self._keys = self._keys_held()
        self._narrator.scene(f"{number}. The device deregisters")
        reply, seen = self._ask("end", Method.END)
        self._check("the server has confirmed it", reply.code == Code.DELETED)
        held = [session.client_id for session in self._stage.sessions()]
        self._check("its session and its values are gone", client_id_of(self._client_id) not in held)
        late = self._protected(_number(seen[0]) + 1, REPORT + encode_report({0: 70}))
        self._refused("a report under its keys is refused", self._replay(late))
        self._narrator.say("ended: what the device had reported is erased", "bold")
        self._narrator.tell_checks()

    def _ask(
        self, sizes: str, method: Method, reported: dict[Property, Value] | None = None
    ) -> tuple[Reply, list[Seen]]:
        """Have the device ask, show it, and check sizes and that it was accepted."""
        reply, seen = self._talk.ask(method, reported)
        what = {Method.GET: "GET", Method.END: "DELETE"}.get(method, "report" if reported else "refresh")
        self._narrator.line(seen[0], f"{what}, number {_number(seen[0])}")
        if reported:
            self._narrator.say(f"      {properties.in_words(reported, self._known)}")
        for again in seen[1:-1]:  # a busy machine may take longer than CoAP waits
            self._narrator.line(again)
        self._narrator.line(seen[-1], said_of(reply.code))
        if reply.answer is not None:
            lives = "without end" if reply.answer.lifetime is None else f"{reply.answer.lifetime} s"
            self._narrator.say(f"      session    {lives}")
            for line in described(reply.answer.policies, self._known):
                self._narrator.say(f"      to report  {line}")
        accepted = reply.done and (len(seen[0].datagram), len(seen[-1].datagram)) == SIZES[sizes]
        self._check(f"{what}: {SIZES[sizes][0]} + {SIZES[sizes][1]} bytes above UDP, and accepted", accepted)
        return reply, seen

    def _replay(self, datagram: bytes) -> Seen:
        asked, *_, answer = self._talk.repeat(datagram)
        self._narrator.line(asked, f"report, number {_number(asked)}")
        self._narrator.line(answer, "2.04 Changed" if answer.coap.option(OSCORE) is not None else answer.coap.said)
        return answer

    def _refused(self, how: str, answer: Seen) -> None:
        bare = answer.coap.code == Code.UNAUTHORIZED and answer.coap.option(OSCORE) is None
        self._check(f"{how}: 4.01, {REFUSED} bytes, which say nothing", bare and len(answer.datagram) == REFUSED)

    def _session(self) -> Session:
        wanted = client_id_of(self._client_id)
        return next(session for session in self._stage.sessions() if session.client_id == wanted)

    def _held(self) -> dict[Property, Value]:
        """Return what the server's database has of the device."""
        return {cbor2.loads(one.property): cbor2.loads(one.value) for one in entries(self._session().record)}

    def _keys_held(self) -> oscore.Keys:
        """Return the keys of the session, as the server's database has them."""
        master = self._stage.keys_of(self._session())
        return oscore.derive(master[:SIZE_MASTER_SECRET], master[SIZE_MASTER_SECRET:], self._client_id)

    def _open(self, seen: Seen) -> bytes | None:
        keys, number = self._keys_held(), _number(seen)
        nonce = oscore.nonce(keys.common_iv, self._client_id, number)
        return oscore.decrypt(keys.client, nonce, oscore.additional_data(self._client_id, number), seen.coap.payload)

    def _protected(self, number: int, plaintext: bytes) -> bytes:
        """Return a request under the keys that the session had."""
        nonce = oscore.nonce(self._keys.common_iv, self._client_id, number)
        additional_data = oscore.additional_data(self._client_id, number)
        ciphertext = oscore.encrypt(self._keys.client, nonce, additional_data, plaintext)
        option = (OSCORE, oscore.option(self._client_id, number))
        return bytes(Datagram("CON", Code.POST, number & 0xFFFF, b"late", (option,), ciphertext))

    def _is_sealed(self, seen: Seen) -> bool:
        return self._client_id in seen.datagram and b"1.4.2" not in seen.datagram and b"de-DE" not in seen.datagram

    def _check(self, claim: str, holds: bool) -> None:
        self._narrator.check(claim, holds)


def _number(seen: Seen) -> int:
    return oscore.read_option(seen.coap.option(OSCORE) or b"")[1]
