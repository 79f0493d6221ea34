"""A server's sessions, of which one lives and one is over; always the same."""

from collections.abc import Sequence
from random import Random

from dpe_coap import oscore
from dpe_coap.client_ids import client_id_bytes
from dpe_coap.messages import Version
from dpe_coap.oscore import decrypt
from dpe_coap.session_messages import decode_report
from dpe_server import policy
from dpe_server.handling.handler import handle
from dpe_server.handling.records import AuditRecord
from dpe_server.handling.reply import Reply
from dpe_server.keys.at_rest import AtRest
from dpe_server.session.sessions import Sessions
from dpe_server.session.shares import Shares
from dpe_server.store.contract import Session
from dpe_server.store.record import merge
from dpe_tools.simulation.memory_store import Disk, MemoryStore
from tests.assurance.fuzz.known import KEYS, NOW
from tests.server.session.double import POLICY, WALL

LIVE, OVER, NEVER = 0x58462DEB908078, 0x58462DEB908079, 0x58462DEB90807A
"""Client IDs: of a session, of one that is over, and of none."""
MARK = 5
"""Of both sessions."""
BEFORE = b"\x00\x18\x50\x61a\xf5"
"""What the device has reported: battery 80, and "a" true."""


class InSession:
    """The handler of sessions and its store, and the keys that the devices have."""

    def __init__(self) -> None:
        self._chance = Random(4)
        self._at_rest = AtRest(KEYS.at_rest, self._chance.randbytes)
        self._masters = {client_id: self._chance.randbytes(24) for client_id in (LIVE, OVER, NEVER)}
        self._keys = {
            client_id_bytes(client_id): oscore.derive(master[:16], master[16:], client_id_bytes(client_id))
            for client_id, master in self._masters.items()
        }
        self._disk = Disk()
        self._store = MemoryStore(self._disk, clock=lambda: WALL)
        self._sessions = Sessions(keys=KEYS, policy=policy.parse(POLICY), random=self._chance.randbytes)
        self._records: list[AuditRecord] = []
        self._store.commit([self._session(LIVE, None), self._session(OVER, int(WALL) - 1)])
        self._saved = dict(vars(self._disk))

    def _session(self, client_id: int, expires_at: int | None) -> Session:
        return Session(
            client_id=client_id, device=self._chance.randbytes(16), sealed_imei=b"sealed", version=Version(1, 0),
            firmware=None, suite=1, rule="everyone", ordinal=client_id & 0xFF, established_at=int(WALL) - 60,
            lifetime=None, expires_at=expires_at, th3=bytes(32), success_hash=self._chance.randbytes(32), confirm=b"",
            sealed_keys=self._at_rest.seal_keys(self._masters[client_id], client_id), mark=MARK, seen_at=int(WALL),
            record=merge(b"", decode_report(b"\xa1\x01\xa2" + BEFORE).properties or {}, int(WALL)) or b"",
        )  # fmt: skip

    def handle(self, payloads: Sequence[bytes]) -> list[Reply]:
        """Let protected requests be decided."""
        replies, records = handle(self._sessions, self._store, payloads, NOW, WALL)
        self._records += records
        return replies

    @property
    def session(self) -> Session | None:
        """The one that lives."""
        return self._store.session(LIVE)

    def unchanged(self) -> bool:
        """Return whether the store is as in the beginning."""
        return vars(self._disk) == self._saved

    def restore(self) -> None:
        """Go back to the beginning. What is kept of keys stays: it decides nothing."""
        assert not self._sessions._pending
        vars(self._disk).update(self._saved)
        self._sessions._answers._entries.clear()
        self._sessions._shares = Shares()

    def check_audit(self) -> None:
        """Check that no audit record is long, or names what a device has reported."""
        told, self._records = self._records, []
        for record_ in told:
            assert record_.event in ("unauthenticated", "session-ended", "first-contact")
            assert all(len(str(value)) <= 80 for value in record_.details.values())

    def seal(self, option: bytes, plaintext: bytes) -> bytes | None:
        """Return the ciphertext that the device makes which the option names; None if it names none."""
        return self._sealed(option, plaintext, server=False)

    def open(self, option: bytes, ciphertext: bytes) -> bytes | None:
        """Return the plaintext of the answer to a request with this option."""
        return self._sealed(option, ciphertext, server=True)

    def proves(self, option: bytes, ciphertext: bytes) -> bytes | None:
        """Return the plaintext of a request that the device of the session that lives has made."""
        named = self._named(option)
        if named is None or named[0] != client_id_bytes(LIVE):
            return None
        keys = self._keys[named[0]]
        nonce = oscore.nonce(keys.common_iv, *named)
        return decrypt(keys.client, nonce, oscore.additional_data(*named), ciphertext)

    def _sealed(self, option: bytes, data: bytes, *, server: bool) -> bytes | None:
        named = self._named(option)
        if named is None:
            return None
        keys = self._keys[named[0]]
        nonce, additional_data = oscore.nonce(keys.common_iv, *named), oscore.additional_data(*named)
        if server:
            return decrypt(keys.server, nonce, additional_data, data)
        return oscore.encrypt(keys.client, nonce, additional_data, data)

    def _named(self, option: bytes) -> tuple[bytes, int] | None:
        size = option[0] & 7 if option else 0
        sender = option[1 + size :]
        return (sender, int.from_bytes(option[1 : 1 + size], "big")) if sender in self._keys and size <= 5 else None
