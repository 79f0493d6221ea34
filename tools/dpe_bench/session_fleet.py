"""The sessions of `dpe bench sessions`: they are put straight into the store, and looked up there afterwards."""

import json
import secrets
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

from dpe_bench.rows_devices import Devices
from dpe_coap import oscore
from dpe_coap.binding import CONTENT_FORMAT_CBOR, Code
from dpe_coap.client_ids import client_id_bytes, client_id_of
from dpe_coap.errors import LocalError
from dpe_coap.numbers import SIZE_CLIENT_ID
from dpe_coap.session_messages import encode_report
from dpe_server import policy
from dpe_server.keys.at_rest import SIZE_DEVICE, AtRest
from dpe_server.operation.state_dir import StateDir
from dpe_server.session.contexts import SIZE_MASTER_SALT, SIZE_MASTER_SECRET
from dpe_server.session.telling import tell
from dpe_server.store.contract import Outcome, Session
from dpe_server.store.opening import open_store
from dpe_server.store.questions import Questions

CHUNK = 50_000
"""Sessions in a commit."""
LOOK = 500
"""Sessions in a look-up."""

_BATTERY = 0
_POST = bytes([Code.POST]) + b"\xb3dpe\x11" + bytes([CONTENT_FORMAT_CBOR]) + b"\xff"
"""A POST to /dpe up to its payload."""


def plaintext(policy_etag: bytes) -> bytes:
    """Return what a device protects when it reports its battery; the last byte is the value, 0 to 23."""
    return _POST + encode_report({_BATTERY: 0}, policy_etag)


def _record(client_id: bytes, master_secret: bytes, master_salt: bytes) -> bytes:
    """Return a session as native/session_job.c reads it."""
    return client_id + b"".join(oscore.derive(master_secret, master_salt, client_id))


@dataclass(frozen=True, slots=True)
class Peers:
    """Sessions for a peer's server, which has one master secret for all."""

    client_ids: list[bytes]
    master_secret: bytes = field(repr=False)
    master_salt: bytes = field(repr=False)

    @classmethod
    def make(cls, count: int) -> "Peers":
        """Draw ``count`` sessions."""
        client_ids = [secrets.token_bytes(SIZE_CLIENT_ID) for _ in range(count)]
        return cls(client_ids, secrets.token_bytes(SIZE_MASTER_SECRET), secrets.token_bytes(SIZE_MASTER_SALT))

    @classmethod
    def read(cls, path: Path) -> "Peers":
        """Read what ``write`` wrote."""
        client_ids, secret, salt = json.loads(path.read_text(encoding="utf-8"))
        return cls([bytes.fromhex(each) for each in client_ids], bytes.fromhex(secret), bytes.fromhex(salt))

    def write(self, path: Path) -> None:
        """Write them for dpe_bench.servers.oscore_aiocoap."""
        told = [each.hex() for each in self.client_ids], self.master_secret.hex(), self.master_salt.hex()
        path.write_text(json.dumps(told), encoding="utf-8")

    def write_libcoap(self, path: Path) -> None:
        """Write them as in coap-oscore-conf(5). The server has no memory of numbers that it could have lost."""
        lines = [
            f'master_secret,hex,"{self.master_secret.hex()}"',
            f'master_salt,hex,"{self.master_salt.hex()}"',
            'sender_id,hex,""',
            "rfc8613_b_1_2,bool,false",
            *(f'recipient_id,hex,"{each.hex()}"' for each in self.client_ids),
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def write_records(self, path: Path) -> None:
        """Write them for native/session_job.c."""
        path.write_bytes(b"".join(_record(each, self.master_secret, self.master_salt) for each in self.client_ids))


@dataclass(frozen=True, slots=True)
class Fleet:
    """Sessions in the store of a state directory, and their keys in a file for native/session_job.c."""

    folder: Path
    count: int
    plaintext: bytes
    """What a device protects: it has the policies of its rule, so the answer is empty."""

    SIZE: ClassVar = SIZE_CLIENT_ID + 2 * oscore.SIZE_KEY + oscore.SIZE_NONCE
    """Bytes of a session in the file."""

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "state"

    @property
    def records(self) -> Path:
        """The file with the keys."""
        return self.folder / "sessions"

    @classmethod
    def make(cls, folder: Path, count: int) -> Self:
        """Make ``count`` sessions in the new ``folder``. Each is like that of the first device, which registers."""
        folder.mkdir()
        made = cls(folder, count, b"")
        state = StateDir.create(made.state, "bench", "coap://127.0.0.1")
        with closing(open_store(state.store_url)) as store, made.records.open("wb") as file:
            devices = Devices(state, store)
            devices.register([0])
            pattern = devices.session(0)
            for begin in range(0, count, CHUNK):
                numbers = range(begin, min(count, begin + CHUNK))
                some = sorted(_like(pattern, state.at_rest, numbers), key=lambda one: one[0].client_id)
                if set(store.commit([session for session, _ in some])) != {Outcome.COMMITTED}:
                    raise LocalError("a session was not taken", hint="this is a defect of dpe-coap: report it")
                file.write(b"".join(record for _, record in some))
            context = store.look(Questions(contexts={pattern.client_id})).contexts[pattern.client_id]
        return replace(made, plaintext=plaintext(tell(policy.load(state.policy_path), context).etag))

    def check(self, reports: int) -> int:
        """Return for how many sessions the store has another mark than after ``reports`` reports, one each in turn."""
        wrong = 0
        rounds, more = divmod(reports, self.count)
        with closing(open_store(StateDir.open(self.state).store_url)) as store, self.records.open("rb") as file:
            for begin in range(0, self.count, LOOK):
                chunk = file.read(LOOK * self.SIZE)
                client_ids = [client_id_of(chunk[at : at + SIZE_CLIENT_ID]) for at in range(0, len(chunk), self.SIZE)]
                contexts = store.look(Questions(contexts=set(client_ids))).contexts
                for number, client_id in enumerate(client_ids, begin):
                    mark = contexts[client_id].mark if contexts[client_id].found else -1
                    wrong += (mark or 0) != rounds + (number < more)
        return wrong


def _like(pattern: Session, at_rest: AtRest, numbers: Iterable[int]) -> Iterator[tuple[Session, bytes]]:
    """Yield sessions with their records."""
    for number in numbers:
        client_id = secrets.randbits(8 * SIZE_CLIENT_ID)
        secret, salt = secrets.token_bytes(SIZE_MASTER_SECRET), secrets.token_bytes(SIZE_MASTER_SALT)
        session = replace(
            pattern,
            client_id=client_id,
            device=secrets.token_bytes(SIZE_DEVICE),
            success_hash=secrets.token_bytes(len(pattern.success_hash)),
            sealed_keys=at_rest.seal_keys(secret + salt, client_id),
            ordinal=pattern.ordinal + 1 + number,
        )
        yield session, _record(client_id_bytes(client_id), secret, salt)
