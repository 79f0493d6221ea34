"""A registrar that knows one device, with a transaction in every state that a SUCCESS can meet; always the same."""

from collections.abc import Sequence
from random import Random

from dpe_coap.imei import Imei
from dpe_coap.keys import RequestStep, SuccessStep
from dpe_coap.messages import Request, Response, Success, Version, decode, encode
from dpe_server import policy
from dpe_server.handling.handler import handle
from dpe_server.handling.records import AuditRecord
from dpe_server.handling.reply import Reply
from dpe_server.keys.ring import KeyRing
from dpe_server.registration.containers import Queue
from dpe_server.registration.ordinals import Ordinals
from dpe_server.registration.registrar import Registrar
from dpe_server.registration.transaction_table import Transactions
from dpe_server.registration.transactions import LIFE
from dpe_tools.simulation.memory_store import Disk, MemoryStore
from tests.server.registration.double import POLICY, REALM, WALL

NOW = 1000.0
REDIRECTED = "redirected"
_keys_of = Random(1)
KEYS = KeyRing({1: _keys_of.randbytes(32)}, {1: _keys_of.randbytes(32)}, _keys_of.randbytes(32))
IMEI = Imei.parse("35209900176148")


class Known:
    """The registrar, and messages that it would accept.

    ``request`` is new. ``waiting`` has a RESPONSE, for which ``success`` is due. ``redirected`` was redirected.
    ``confirmed`` is the SUCCESS of a session whose transaction lives, ``stranger`` of a session that only the store
    knows. These are three transactions, so a fourth evicts none.
    """

    def __init__(self) -> None:
        self._chance = Random(2)
        device_key = KEYS.device_key(1, IMEI)
        assert device_key is not None
        self._step = RequestStep.of(device_key, REALM)
        self._handle = KEYS.seal_handle(1, IMEI, 0, self._chance.randbytes)
        self.request = self._request("1.2", "4.2")
        self.waiting, self.redirected = self._request("1.0"), self._request("4.0")
        self._others = [self._request("1.1"), self._request("1.3")]
        self._policy = policy.parse(POLICY)
        self._chance = Random(3)
        self._disk = Disk()
        self._commits = 0
        self._records_told: list[AuditRecord] = []
        self.store = MemoryStore(self._disk, self._count)
        self._begin()

    def _begin(self) -> None:
        """Send the registrar everything but ``request``."""
        self._start()
        self.stranger = self._succeed(self._others[0])[1]
        self.handle([self.stranger])
        self._start()
        self.confirmed = self._succeed(self._others[1])[1]
        self.handle([self.confirmed])
        self._due, self.success = self._succeed(self.waiting)
        self.handle([self.redirected])
        self._records_told.clear()
        table = self._transactions
        th1s = table._by_device.get(self._disk.sessions[0].device)
        self._records = {th1: table._records.part(th1)[th1] for th1 in th1s}
        used = self.registrar._allowances._used.get(self._disk.sessions[0].device)
        assert used is not None
        self._used = bytes(used)
        self._sessions, self._commits = self._disk.sessions, 0
        self._state = self._chance.getstate()

    def restore(self) -> None:
        """Go back to the beginning, without making everything again."""
        table = self._transactions
        device = self._sessions[0].device
        for transaction in table.of_device(device):
            if transaction.th1 not in self._records:
                table.remove(transaction)
        used = self.registrar._allowances._used.get(device)
        assert used is not None
        used[:] = self._used
        table._by_age = Queue(table._has)
        for th1, record in self._records.items():
            table._records.part(th1)[th1] = record
            table._by_age.append(th1, NOW + LIFE)
        self._disk.sessions, self._commits = self._sessions, 0
        self._chance.setstate(self._state)

    def draw_anew(self, seed: int) -> None:
        """Draw what the registrar draws from a new seed."""
        self._chance.seed(seed)

    def handle(self, payloads: Sequence[bytes]) -> list[Reply]:
        """Let payloads be decided."""
        replies, records = handle(self.registrar, self.store, payloads, NOW, WALL)
        self._records_told += records
        return replies

    def state(self) -> tuple[int, int, object]:
        """Return a value that changes when the registrar keeps something."""
        transaction = self._transactions._records.part(self._waiting_th1)[self._waiting_th1]
        return len(self._transactions), self._commits, transaction

    def signed(self, payload: bytes) -> bytes:
        """Return the payload with the correct MAC for its type."""
        return (self._due if payload[2:3] == b"\3" else self._step).sign(payload)

    def proves(self, payload: bytes) -> bool:
        """Return whether the payload's security token is valid here, or was overheard."""
        return payload in (self.confirmed, self.stranger) or self._step.verify(payload) or self._due.verify(payload)

    def replied_to(self, payload: bytes) -> str:
        """Return what kind of RESPONSE a REQUEST gets."""
        return REDIRECTED if payload == self.redirected else ""

    def check_audit(self) -> None:
        """Check that no audit record contains the IMEI, the handle or a MAC."""
        told, self._records_told = self._records_told, []
        for record in told:
            for value in record.details.values():
                assert value not in (IMEI.digits, self._handle.hex())
                assert len(str(value)) <= 80

    def _count(self, point: str) -> None:
        self._commits += point == "before the commit"

    def _start(self) -> None:
        self._transactions = Transactions(self._chance.randbytes)
        self.registrar = Registrar(
            realm=REALM, keys=KEYS, policy=self._policy, random=self._chance.randbytes,
            ordinals=Ordinals.after(0, NOW, WALL), transactions=self._transactions,
        )  # fmt: skip

    def _request(self, version: str, firmware: str | None = None) -> bytes:
        token = self._chance.randbytes(16) + bytes(16)
        message = Request(self._handle, Version.parse(version), token, firmware=firmware)
        return self._step.sign(encode(message))

    def _succeed(self, request: bytes) -> tuple[SuccessStep, bytes]:
        """Send a REQUEST. Return the step of its SUCCESS, and the SUCCESS."""
        payload = self.handle([request])[0].payload
        response = decode(payload)
        assert isinstance(response, Response)
        assert response.client_id is not None
        step = self._step.respond(request, response.security_token[:16]).next(payload)
        self._waiting_th1 = self._step.respond(request, bytes(16)).th1
        return step, step.sign(encode(Success(response.client_id, 0, bytes(16))))
