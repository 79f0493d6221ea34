"""The registrar: the server's state machine, with real keys, a real policy and a real database, on a made-up clock."""

import itertools
import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from os import urandom
from pathlib import Path

import cbor2
import pytest

from dpe_coap import keys as schedule
from dpe_coap.binding import CONTENT_FORMAT_CBOR, CONTENT_FORMAT_PROBLEM, Code
from dpe_coap.imei import Imei
from dpe_coap.messages import Confirm, Request, Response, Success, Version, decode, encode
from dpe_coap.numbers import Status
from dpe_server import policy
from dpe_server.at_rest import AtRest
from dpe_server.key_ring import KeyRing
from dpe_server.registrar import STORE_PAUSE, Registrar
from dpe_server.reply import UNAUTHORIZED, Reply
from dpe_server.store import Outcome, Session, StoreError
from dpe_server.store.sqlite import SqliteStore
from dpe_server.transactions import LIFE, PER_DEVICE, Transactions

REALM = "test realm"
WALL = 1_800_000_000.0
FIRST, LAST = 0x10000000000000, 0x1FFFFFFFFFFFFF

POLICY = """
[[rule]]
name = "current"
version = "1.0-1.3"
action = "accept"
range = ["10000000000000", "1fffffffffffff"]
lifetime = 86400
properties = ["battery"]
[rule.reporting.battery]
every = 3600

[[rule]]
name = "weak"
version = "2.*"
action = "require-x25519"

[[rule]]
name = "modern"
version = "2.*"
action = "accept"
range = ["20000000000000", "2fffffffffffff"]
client_id = "stable"
select = "1.3"

[[rule]]
name = "small"
version = "3.0"
action = "accept"
range = ["30000000000000", "30000000000001"]

[[rule]]
name = "elsewhere"
version = "4.0"
action = "redirect"
server = "coap://other.example:5683"

[[rule]]
name = "unwanted"
version = "5.0"
action = "refuse"

[[rule]]
name = "future"
action = "version-not-supported"
highest = "2.5"
"""


class Store(SqliteStore):
    """The real store; its commits and reads fail on demand, as on a full or broken disk."""

    broken = False

    def commit(self, sessions: Sequence[Session]) -> list[Outcome]:
        if self.broken:
            raise StoreError("made to fail")
        return super().commit(sessions)


class Device:
    """A device as dpe_coap's key schedule makes it; the real client is tested elsewhere."""

    def __init__(self, server: "Server", digits: str = "35209900176148", *, epoch: int = 1) -> None:
        self.server = server
        self.imei = Imei.parse(digits)
        key = server.keys.device_key(epoch, self.imei)
        assert key is not None
        self.key = key
        self.handle = server.keys.seal_handle(epoch, self.imei, urandom)

    def request(
        self,
        version: str = "1.0",
        *,
        private: bytes | None = None,
        firmware: str | None = None,
        clear: bool = False,
        realm: str = REALM,
    ) -> bytes:
        message = Request(
            self.imei.packed if clear else self.handle,
            Version.parse(version),
            urandom(16) + bytes(16),
            None if private is None else schedule.ephemeral(private),
            firmware,
        )
        return schedule.RequestStep.of(self.key, realm).sign(encode(message))

    def receive(
        self, request: bytes, reply: Reply, private: bytes | None = None
    ) -> tuple[Response, schedule.ResponseStep]:
        """Verify a RESPONSE as a device does."""
        response = decode(reply.payload)
        assert isinstance(response, Response)
        dh = b""
        if private is not None:
            assert response.x25519_key is not None
            dh = response.x25519_key + schedule.agree(private, response.x25519_key)
        step = schedule.RequestStep.of(self.key, REALM).respond(request, response.security_token[:16], dh)
        assert step.verify(reply.payload)
        assert reply.content_format == CONTENT_FORMAT_CBOR
        return response, step

    def success(self, step: schedule.ResponseStep, reply: Reply, status: int = 0) -> tuple[bytes, schedule.ConfirmStep]:
        response = decode(reply.payload)
        assert isinstance(response, Response)
        assert response.client_id is not None
        last = step.next(reply.payload)
        success = last.sign(encode(Success(response.client_id, status, bytes(16))))
        return success, last.next(success)

    def offered(self, version: str = "1.0", status: int = 0) -> tuple[bytes, schedule.ConfirmStep, Response]:
        """Do the first exchange; return the SUCCESS to send and what verifies its CONFIRM."""
        request = self.request(version)
        reply = self.server.send(request)
        assert reply.code == Code.CHANGED
        response, step = self.receive(request, reply)
        success, last = self.success(step, reply, status)
        return success, last, response

    def register(self, version: str = "1.0") -> Response:
        success, last, response = self.offered(version)
        assert confirmation(self.server.send(success), last).status == Status.OK
        return response


def confirmation(reply: Reply, step: schedule.ConfirmStep) -> Confirm:
    """Verify a CONFIRM as a device does."""
    assert reply.code == Code.CHANGED
    assert step.verify(reply.payload)
    confirm = decode(reply.payload)
    assert isinstance(confirm, Confirm)
    return confirm


class Server:
    """A registrar and its store, on a clock that tests set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys = KeyRing(
            master={1: urandom(32), 2: urandom(32)}, handle={1: urandom(32), 7: urandom(32)}, at_rest=urandom(32)
        )
        self.now, self.wall = 1000.0, WALL
        self.total = 1000
        self.start()

    def start(self) -> None:
        self.store = Store(self.path)
        self.registrar = Registrar(
            realm=REALM,
            keys=self.keys,
            policy=policy.parse(POLICY),
            store=self.store,
            random=urandom,
            retry_after=30,
            transactions=Transactions(total=self.total),
        )

    def restart(self) -> None:
        self.store.close()
        self.start()

    def send(self, *payloads: bytes) -> Reply:
        """Return the reply to the last of a batch."""
        return self.registrar.handle(payloads, self.now, self.wall)[-1]

    def rows(self) -> list[Session]:
        return list(self.store.live(int(self.wall)))

    def events(self) -> list[str]:
        return [record.event for record in self.registrar.take_audit()]

    def device_id(self, imei: Imei) -> bytes:
        return AtRest(self.keys.at_rest).device_id(imei)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "dpe.sqlite")
    yield server
    server.store.close()


@pytest.fixture
def device(server: Server) -> Device:
    return Device(server)


def test_registration(server: Server, device: Device) -> None:
    request = device.request()
    reply = server.send(request)
    assert reply.code == Code.CHANGED
    response, step = device.receive(request, reply)
    assert response.status == Status.OK
    assert response.version == (1, 0)
    assert response.client_id is not None
    assert FIRST <= int.from_bytes(response.client_id, "big") <= LAST
    assert response.sealed_handle is not None
    assert server.keys.open_handle(step.mask(response.sealed_handle)) == (1, device.imei)
    assert not server.rows(), "nothing is written before SUCCESS"

    success, last = device.success(step, reply)
    answer = server.send(success)
    confirm = confirmation(answer, last)
    assert (confirm.status, confirm.lifetime) == (Status.OK, 86400)
    assert [len(payload) for payload in (request, reply.payload, success)] == [61, 72, 32]

    (row,) = server.rows()
    assert row.client_id == response.client_id
    assert row.device == server.device_id(device.imei)
    assert (row.version, row.suite, row.rule, row.firmware) == ((1, 0), 1, "current", None)
    assert (row.th3, row.success_hash, row.confirm) == (last.th3, sha256(success).digest(), answer.payload)
    assert (row.established_at, row.expires_at) == (WALL, WALL + 86400)
    assert json.loads(row.properties) == {"battery": None}
    assert json.loads(row.policies) == {"battery": {"every": 3600}}
    at_rest = AtRest(server.keys.at_rest)
    assert at_rest.open_imei(row.sealed_imei, row.device) == device.imei
    assert at_rest.open_keys(row.sealed_keys, row.client_id) == b"".join(last.export())
    assert server.events() == ["response", "established"]


def test_x25519_suite(server: Server, device: Device) -> None:
    private = urandom(32)
    request = device.request("2.0", private=private, firmware="4.2.1")
    reply = server.send(request)
    response, step = device.receive(request, reply, private)
    assert response.version == (1, 3), "the version the policy selects"
    success, last = device.success(step, reply)
    confirm = confirmation(server.send(success), last)
    assert (confirm.status, confirm.lifetime) == (Status.OK, None)
    (row,) = server.rows()
    assert (row.suite, row.version, row.firmware, row.expires_at) == (2, (1, 3), "4.2.1", None)


@pytest.mark.parametrize(
    ("version", "code", "status", "selected"),
    [
        ("4.0", Code.FORBIDDEN, Status.REDIRECT, "4.0"),
        ("5.0", Code.FORBIDDEN, Status.REFUSED, "5.0"),
        ("9.9", Code.PRECONDITION_FAILED, Status.VERSION_NOT_SUPPORTED, "2.5"),
    ],
)
@pytest.mark.parametrize("private", [None, b"\x17" * 32], ids=["plain", "x25519"])
def test_authenticated_refusals(
    server: Server, device: Device, private: bytes | None, version: str, code: Code, status: Status, selected: str
) -> None:
    request = device.request(version, private=private)
    reply = server.send(request)
    response, _ = device.receive(request, reply, private)
    assert (reply.code, response.status, str(response.version)) == (code, status, selected)
    assert response.server_uri == ("coap://other.example:5683" if status == Status.REDIRECT else None)
    assert not server.rows()
    assert server.send(request) == reply, "the same bytes get the same answer"


def test_a_rule_may_require_the_x25519_suite(server: Server, device: Device) -> None:
    request = device.request("2.0")
    reply = server.send(request)
    response, _ = device.receive(request, reply)
    assert (reply.code, response.status, str(response.version)) == (Code.FORBIDDEN, Status.SUITE_TOO_WEAK, "2.0")


def test_resent_messages_get_the_same_bytes(server: Server, device: Device) -> None:
    request = device.request()
    reply = server.send(request)
    assert server.send(request) == reply
    assert server.send(request, request) == reply
    response, step = device.receive(request, reply)
    success, last = device.success(step, reply)
    answer = server.send(success)
    confirmation(answer, last)
    assert server.send(success) == answer
    assert server.send(request) == reply, "while the transaction lives"
    server.now += LIFE + 1
    assert server.send(success) == answer, "from the store"
    server.restart()
    assert server.send(success) == answer, "after a restart"
    assert [row.client_id for row in server.rows()] == [response.client_id]


def test_one_batch_may_hold_the_same_message_twice(server: Server, device: Device) -> None:
    request = device.request()
    first, second = server.registrar.handle([request, request], server.now, server.wall)
    assert first == second
    _, step = device.receive(request, first)
    success, last = device.success(step, first)
    answers = server.registrar.handle([success, success], server.now, server.wall)
    assert answers[0] == answers[1]
    assert confirmation(answers[0], last).status == Status.OK
    assert len(server.rows()) == 1


def test_a_batch_of_many_devices(server: Server) -> None:
    devices = [Device(server, f"352099001{n:05d}") for n in range(100)]
    requests = [device.request() for device in devices]
    replies = server.registrar.handle(requests, server.now, server.wall)
    exchanges = []
    for device, request, reply in zip(devices, requests, replies, strict=True):
        _, step = device.receive(request, reply)
        exchanges.append(device.success(step, reply))
    answers = server.registrar.handle([success for success, _ in exchanges], server.now, server.wall)
    for answer, (_, last) in zip(answers, exchanges, strict=True):
        assert confirmation(answer, last).status == Status.OK
    assert len({row.client_id for row in server.rows()}) == 100


def test_success_of_a_lost_transaction(server: Server, device: Device) -> None:
    success, _, _ = device.offered()
    server.restart()
    assert server.send(success) == UNAUTHORIZED
    assert not server.rows()
    device.register()
    assert len(server.rows()) == 1


def test_a_transaction_ends(server: Server, device: Device) -> None:
    success, _, _ = device.offered()
    server.now += LIFE + 0.1
    assert server.send(success) == UNAUTHORIZED
    assert not server.rows()


def test_decline(server: Server, device: Device) -> None:
    for status in (Status.DECLINED, Status.VERSION_UNACCEPTABLE, Status.STORAGE_FAILURE, Status.ABORTED, 99):
        success, last, _ = device.offered(status=status)
        answer = server.send(success)
        assert confirmation(answer, last).status == Status.RELEASED
        assert server.send(success) == answer
    assert not server.rows()
    assert server.events().count("declined") == 5


def test_a_decline_releases_the_client_id(server: Server) -> None:
    """Two Client IDs, three devices: the third gets one when another has declined."""
    first, second, third = (Device(server, f"3520990017614{n}") for n in range(3))
    success, last, _ = first.offered("3.0", Status.DECLINED)
    second.offered("3.0")
    request = third.request("3.0")
    reply = server.send(request)
    assert reply.code == Code.SERVICE_UNAVAILABLE
    assert confirmation(server.send(success), last).status == Status.RELEASED
    third.register("3.0")


def test_a_decline_leaves_the_older_session(server: Server, device: Device) -> None:
    client_id = device.register().client_id
    success, last, _ = device.offered(status=Status.DECLINED)
    assert confirmation(server.send(success), last).status == Status.RELEASED
    assert [row.client_id for row in server.rows()] == [client_id]


def test_exhausted_range(server: Server) -> None:
    for n in range(2):
        Device(server, f"3520990017614{n}").register("3.0")
    device = Device(server, "35209900176149")
    request = device.request("3.0")
    reply = server.send(request)
    response, _ = device.receive(request, reply)
    assert (reply.code, reply.max_age) == (Code.SERVICE_UNAVAILABLE, 30)
    assert (response.status, response.retry_after) == (Status.UNAVAILABLE, 30)


def test_reregistration_replaces_the_session(server: Server, device: Device) -> None:
    old = device.register().client_id
    server.wall += 5
    new = device.register().client_id
    assert old != new
    assert [row.client_id for row in server.rows()] == [new]


def test_an_older_success_is_superseded(server: Server, device: Device) -> None:
    older, older_step, _ = device.offered()
    newer, newer_step, response = device.offered()
    assert confirmation(server.send(newer), newer_step).status == Status.OK
    answer = server.send(older)
    assert confirmation(answer, older_step).status == Status.SUPERSEDED
    assert server.send(older) == answer
    assert [row.client_id for row in server.rows()] == [response.client_id]


def test_the_answer_to_a_replaced_session_is_superseded(server: Server, device: Device) -> None:
    """Were it still ok, the client would believe in a session that is gone."""
    older, older_step, _ = device.offered()
    assert confirmation(server.send(older), older_step).status == Status.OK
    device.register()
    assert confirmation(server.send(older), older_step).status == Status.SUPERSEDED
    server.restart()
    assert server.send(older) == UNAUTHORIZED


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_registrations_of_one_device_in_a_batch(server: Server, device: Device, order: tuple[int, int]) -> None:
    exchanges = [device.offered() for _ in range(2)]
    answers = server.registrar.handle([exchanges[n][0] for n in order], server.now, server.wall)
    statuses = {n: confirmation(answer, exchanges[n][1]).status for n, answer in zip(order, answers, strict=True)}
    assert statuses == {0: Status.SUPERSEDED, 1: Status.OK}
    assert [row.client_id for row in server.rows()] == [exchanges[1][2].client_id]


def test_the_newest_wins_when_the_wall_clock_goes_back(server: Server, device: Device) -> None:
    device.register()
    server.wall -= 10 * 365 * 86400
    device.register()
    server.restart()
    newest = device.register().client_id
    assert [row.client_id for row in server.rows()] == [newest]


def test_a_replayed_request_disturbs_nothing(server: Server, device: Device) -> None:
    request = device.request()
    reply = server.send(request)
    _, step = device.receive(request, reply)
    success, last = device.success(step, reply)
    answer = server.send(success)
    rows = server.rows()
    server.now += LIFE + 1
    for _ in range(2 * PER_DEVICE):
        assert server.send(request).code == Code.CHANGED
    assert server.rows() == rows
    assert server.send(success) == answer
    assert confirmation(answer, last).status == Status.OK


def test_stable_client_id(server: Server, device: Device) -> None:
    private = urandom(32)
    given = set()
    for _ in range(3):
        request = device.request("2.1", private=private)
        reply = server.send(request)
        response, step = device.receive(request, reply, private)
        again = device.request("2.1", private=private)
        assert device.receive(again, server.send(again), private)[0].client_id == response.client_id
        success, last = device.success(step, reply)
        assert confirmation(server.send(success), last).status in (Status.OK, Status.SUPERSEDED)
        given.add(response.client_id)
        server.restart()
    assert len(given) == 1
    assert len(server.rows()) == 1


def test_fresh_client_ids_differ(server: Server, device: Device) -> None:
    assert len({device.register().client_id for _ in range(5)}) == 5


def wrong_realm(device: Device) -> bytes:
    return device.request(realm="another realm")


def wrong_key(device: Device) -> bytes:
    device.key = urandom(32)
    return device.request()


def foreign_handle(device: Device) -> bytes:
    device.handle = bytes([1]) + urandom(16)
    return device.request()


def unknown_handle_key(device: Device) -> bytes:
    device.handle = bytes([99]) + device.handle[1:]
    return device.request()


def unknown_epoch(device: Device) -> bytes:
    device.handle = device.server.keys.seal_handle(9, device.imei, urandom)
    return device.request()


def imei_in_clear(device: Device) -> bytes:
    return device.request(clear=True)


def unknown_client_id(device: Device) -> bytes:
    return encode(Success(bytes(7), 0, bytes(16)))


def forged_success(device: Device) -> bytes:
    success, _, _ = device.offered()
    return success[:-1] + bytes([success[-1] ^ 1])


def revoked(device: Device) -> bytes:
    device.server.store.revoke(device.server.device_id(device.imei), int(WALL))
    return device.request()


@pytest.mark.parametrize(
    "make",
    [
        wrong_realm,
        wrong_key,
        foreign_handle,
        unknown_handle_key,
        unknown_epoch,
        imei_in_clear,
        unknown_client_id,
        forged_success,
        revoked,
    ],
)
def test_everything_unproved_gets_one_answer(server: Server, device: Device, make: object) -> None:
    assert callable(make)
    payload = make(device)
    assert server.send(payload) == UNAUTHORIZED == Reply(Code.UNAUTHORIZED, b"", None, None)
    assert not server.rows()
    assert server.events()[-1] == "unauthenticated"


def test_revoked_between_response_and_success(server: Server, device: Device) -> None:
    success, _, _ = device.offered()
    server.store.revoke(server.device_id(device.imei), int(WALL))
    assert server.send(success) == UNAUTHORIZED
    assert server.send(success) == UNAUTHORIZED
    assert not server.rows()


def test_a_revoked_session_is_not_confirmed_again(server: Server, device: Device) -> None:
    success, last, _ = device.offered()
    assert confirmation(server.send(success), last).status == Status.OK
    server.store.revoke(server.device_id(device.imei), int(WALL))
    assert not server.rows()
    assert server.send(success) == UNAUTHORIZED
    server.restart()
    assert server.send(success) == UNAUTHORIZED


@pytest.mark.parametrize("scope", ["device", "all"])
def test_minimum_epoch(server: Server, device: Device, scope: str) -> None:
    if scope == "device":
        server.store.restrict(server.device_id(device.imei), 2)
    else:
        server.store.set_minimum_epoch(2)
    request = device.request()
    reply = server.send(request)
    response, _ = device.receive(request, reply)
    assert (reply.code, response.status) == (Code.FORBIDDEN, Status.REPROVISION)
    Device(server, epoch=2).register()


def test_imei_in_clear_where_the_policy_allows_it(server: Server, device: Device) -> None:
    server.registrar.reload(keys=server.keys, policy=policy.parse("allow_clear_imei = true\n" + POLICY))
    for epoch in (1, 2):
        device = Device(server, epoch=epoch)
        request = device.request(clear=True)
        response, _ = device.receive(request, server.send(request))
        assert response.status == Status.OK
    not_decimal = Request(bytes.fromhex("4901542032375a"), Version(1, 0), bytes(32))
    assert server.send(encode(not_decimal)) == UNAUTHORIZED


def test_handles_of_every_generation(server: Server, device: Device) -> None:
    old = device.request()
    device.handle = schedule.seal_handle(server.keys.handle[1], 1, 1, device.imei.packed, urandom(8))
    assert server.send(device.request()).code == server.send(old).code == Code.CHANGED


@pytest.mark.parametrize(
    ("payload", "title"),
    [
        (b"", "no item: the message is empty"),
        (b"\x80", "not a map"),
        (encode(Confirm(0, bytes(16))), "a server takes REQUEST and SUCCESS only"),
        (encode(Response(Version(1, 0), 2, bytes(32))), "a server takes REQUEST and SUCCESS only"),
    ],
)
def test_malformed(server: Server, payload: bytes, title: str) -> None:
    reply = server.send(payload)
    assert (reply.code, reply.content_format) == (Code.BAD_REQUEST, CONTENT_FORMAT_PROBLEM)
    details = cbor2.loads(reply.payload)
    assert details[-1] == title
    assert "offset" in details[-2]


def test_low_order_x25519_key(server: Server, device: Device) -> None:
    message = Request(device.handle, Version(1, 0), urandom(16) + bytes(16), bytes(32))
    reply = server.send(schedule.RequestStep.of(device.key, REALM).sign(encode(message)))
    assert reply.code == Code.BAD_REQUEST
    assert "low order" in cbor2.loads(reply.payload)[-1]


def test_store_failure(server: Server, device: Device) -> None:
    success, last, response = device.offered()
    server.store.broken = True
    reply = server.send(success)
    assert (reply.code, reply.payload, reply.max_age) == (Code.SERVICE_UNAVAILABLE, b"", 30)
    request = device.request()
    refusal, _ = device.receive(request, server.send(request))
    assert (refusal.status, refusal.retry_after) == (Status.UNAVAILABLE, 30)

    server.store.broken = False
    confirm = confirmation(server.send(success), last)
    assert confirm.status == Status.OK, "the same SUCCESS, once the store is back"
    assert [row.client_id for row in server.rows()] == [response.client_id]
    device.register()


def test_recovery_without_a_waiting_success(server: Server, device: Device) -> None:
    success, _, _ = device.offered()
    server.store.broken = True
    server.send(success)
    server.store.broken = False
    request = device.request()
    assert server.send(request).code == Code.SERVICE_UNAVAILABLE
    server.now += STORE_PAUSE
    device.register()


def test_unreadable_store(server: Server, device: Device) -> None:
    success, _, _ = device.offered()
    server.store.close()
    request = device.request()
    response, _ = device.receive(request, server.send(request))
    assert response.status == Status.UNAVAILABLE
    server.now += LIFE + 1
    assert server.send(success).code == Code.SERVICE_UNAVAILABLE
    server.start()


def test_a_device_has_at_most_four_transactions(server: Server, device: Device) -> None:
    exchanges = [device.offered() for _ in range(PER_DEVICE + 1)]
    assert server.send(exchanges[0][0]) == UNAUTHORIZED
    success, last, _ = exchanges[1]
    assert confirmation(server.send(success), last).status == Status.OK


def test_the_table_is_bounded(server: Server) -> None:
    server.total = 10
    server.restart()
    exchanges = [Device(server, f"352099001{n:05d}").offered() for n in range(15)]
    answers = [server.send(success) for success, _, _ in exchanges]
    assert [answer == UNAUTHORIZED for answer in answers] == [True] * 5 + [False] * 10


def test_an_expired_session_is_not_confirmed(server: Server, device: Device) -> None:
    success, last, _ = device.offered()
    assert confirmation(server.send(success), last).lifetime == 86400
    server.now += 86400
    server.wall += 86400
    assert server.send(success) == UNAUTHORIZED
    assert not server.rows()


def test_reload_keeps_what_was_offered(server: Server, device: Device) -> None:
    success, last, _ = device.offered()
    server.registrar.reload(keys=server.keys, policy=policy.parse('[[rule]]\naction = "refuse"\n'))
    assert confirmation(server.send(success), last).status == Status.OK
    request = device.request()
    assert device.receive(request, server.send(request))[0].status == Status.REFUSED


def test_the_audit_log_has_no_personal_data(server: Server, device: Device) -> None:
    device.register()
    server.send(wrong_key(Device(server)))
    server.send(b"\x80")
    records = server.registrar.take_audit()
    assert [record.event for record in records] == ["response", "established", "unauthenticated", "malformed"]
    assert [record.unproved for record in records] == [False, False, True, True]
    text = repr(records)
    for secret in (device.imei.digits, device.imei.digits[8:], device.key.hex(), device.handle.hex()):
        assert secret not in text


def test_ten_devices_interleaved(server: Server) -> None:
    """Every interleaving of resent and reordered messages leaves one row a device, its newest."""
    devices = [Device(server, f"3520990017614{n}") for n in range(10)]
    exchanges = [(device, device.offered()) for device, _ in itertools.product(devices, range(2))]
    for _, (success, _, _) in reversed(exchanges):
        server.send(success)
    newest = {exchange[2].client_id for _, exchange in exchanges[1::2]}
    assert {row.client_id for row in server.rows()} == newest
