"""Every way to be refused with 4.01, as messages for one server. An observer must not be able to tell them apart."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path

from dpe_coap.keys import RequestStep
from dpe_coap.messages import Request, Success, Version, encode
from dpe_coap.numbers import Status
from dpe_server import policy
from dpe_server.handling.handler import handle
from dpe_server.keys.ring import KeyRing
from dpe_server.operation.state_dir import StateDir
from dpe_server.registration.ordinals import Ordinals
from dpe_server.registration.registrar import Registrar
from dpe_server.session.sessions import Sessions
from dpe_server.store.contract import Revoke, Store
from dpe_server.store.opening import open_store
from tests.end_to_end.devices import VERSION, Device, Offered

Ask = Callable[[bytes], bytes]
"""From a payload to the payload of its answer."""
Make = Callable[[], bytes]
"""Makes the payload of one message."""

MANY = 16
"""How many sessions and transactions of each kind there are, used in turn."""
LASTS_A_MINUTE = Version(1, 1)

POLICY = """
[[rule]]
name = "short"
version = "1.1"
action = "accept"
range = ["10000000000000", "1fffffffffffff"]
lifetime = 60

[[rule]]
name = "all"
action = "accept"
range = ["10000000000000", "1fffffffffffff"]
"""


BY_MODEL = """
[[rule]]
name = "short"
version = "1.1"
tac = ["35693803"]
action = "accept"
range = ["10000000000000", "1fffffffffffff"]
lifetime = 60

[[rule]]
name = "known model"
tac = ["35693803"]
action = "accept"
client_id = "stable"
range = ["20000000000000", "2fffffffffffff"]

[[rule]]
name = "others"
action = "refuse"
"""
"""What the policy gives the model of the devices, and what it gives nobody, is as different as can be.

The range is so wide that no Client ID is drawn twice: a SUCCESS is compared with each transaction that has its own.
"""


def registrar(state: StateDir, store: Store, make: Callable[..., Registrar] = Registrar) -> Registrar:
    """Return the registrar of a state directory, as ``dpe serve`` makes it."""
    return make(
        realm=state.config.realm,
        keys=state.keys,
        policy=policy.load(state.policy_path),
        random=os.urandom,
        ordinals=Ordinals.after(store.last_ordinal(), time.monotonic(), time.time()),
        retry_after=state.config.retry_after,
    )


def sessions(state: StateDir) -> Sessions:
    """Return the handler of a state directory's sessions, as ``dpe serve`` makes it."""
    return Sessions(
        keys=state.keys,
        policy=policy.load(state.policy_path),
        random=os.urandom,
        retry_after=state.config.retry_after,
    )


class Refusals:
    """Makes a state directory, and messages that its server refuses.

    What must be in the store, but not in memory, is put there before the server begins. The rest needs ``ask``.
    """

    def __init__(self, path: Path, policy_text: str = POLICY) -> None:
        self.state = StateDir.create(path, "realm", "coap://127.0.0.1")
        self.state.policy_path.write_text(policy_text, encoding="utf-8")
        self._devices: Iterator[Device] = cycle([Device(self.state) for _ in range(MANY)])
        self._other = RequestStep.of(os.urandom(32), self.state.config.realm)
        store = open_store(self.state.store_url)
        try:
            before = registrar(self.state, store)
            a_while_ago = time.time() - 120

            def ask(payload: bytes) -> bytes:
                return handle(before, store, [payload], 0, a_while_ago).replies[0].payload

            self._stored = [self._establish(ask) for _ in range(MANY)]
            self._over = [self._establish(ask, LASTS_A_MINUTE) for _ in range(MANY)]
            self._revoked = [Device(self.state) for _ in range(MANY)]
            for device in self._revoked:
                store.commit([Revoke(self.state.at_rest.device_id(device.imei), 0)])
        finally:
            store.close()

    # REQUEST

    def wrong_key(self, version: Version = VERSION) -> bytes:
        """Return a REQUEST with the handle of a device and another key."""
        return self._other.sign(next(self._devices).request(version))

    def requests(self) -> dict[str, Make]:
        """Return makers of the refused REQUESTs, by class. The others are compared with the first."""
        state = self.state
        later = KeyRing({9: os.urandom(32)}, dict(state.keys.handle), os.urandom(32))
        of_no_epoch = cycle([Device(state, keys=later, epoch=9) for _ in range(MANY)])
        revoked = cycle(self._revoked)

        def of_another_realm() -> bytes:
            device = next(self._devices)
            return RequestStep.of(device.step.device_key, "another realm").sign(device.request())

        def clear() -> bytes:
            device = next(self._devices)
            return device.step.sign(encode(Request(device.imei.packed, VERSION, os.urandom(16) + bytes(16))))

        return {
            "wrong key": self.wrong_key,
            "another realm": of_another_realm,
            "unknown device": lambda: next(self._devices).request(identity=b"\x01" + os.urandom(16)),
            "unknown handle key": lambda: next(self._devices).request(identity=b"\x63" + os.urandom(16)),
            "unknown key epoch": lambda: next(of_no_epoch).request(),
            "IMEI in clear": clear,
            "revoked device": lambda: next(revoked).request(),
        }

    # SUCCESS

    def begin_expiring(self, ask: Ask) -> list[bytes]:
        """Begin transactions. Return their SUCCESSes, which are refused when the transactions have ended."""
        return [self._offer(ask)[1].success() for _ in range(MANY)]

    def successes(self, ask: Ask, expired: list[bytes]) -> dict[str, Make]:
        """Return makers of the refused SUCCESSes, by class. The others are compared with the first.

        Call this again before the life of its transactions ends. ``expired`` may be empty.
        """
        forged = {
            "wrong token, Client ID offered": self.begin_expiring(ask),
            "wrong token, session established": [self._establish(ask) for _ in range(MANY)],
            "wrong token, session of an earlier process": self._stored,
            "wrong token, offer declined": [self._decline(ask) for _ in range(MANY)],
        }
        made: dict[str, Make] = {
            "unknown Client ID": lambda: encode(Success(b"\x1f" + os.urandom(6), 0, os.urandom(16)))
        }
        for name, successes in forged.items():
            made[name] = partial(next, cycle(list(map(_forged, successes))))
        made["expired session"] = partial(next, cycle(self._over))
        if expired:
            made["expired transaction"] = partial(next, cycle(expired))
        return made

    def _offer(self, ask: Ask, version: Version = VERSION) -> tuple[bytes, Offered]:
        device = Device(self.state)
        request = device.request(version)
        return request, device.read(request, ask(request))

    def _establish(self, ask: Ask, version: Version = VERSION) -> bytes:
        """Register a device. Return its SUCCESS."""
        _, offer = self._offer(ask, version)
        success = offer.success()
        confirm, _ = offer.confirm(success, ask(success))
        assert confirm.status == Status.OK
        return success

    def _decline(self, ask: Ask) -> bytes:
        _, offer = self._offer(ask)
        success = offer.success(Status.DECLINED)
        confirm, _ = offer.confirm(success, ask(success))
        assert confirm.status == Status.RELEASED
        return success


def _forged(success: bytes) -> bytes:
    return success[:-1] + bytes([success[-1] ^ 1])
