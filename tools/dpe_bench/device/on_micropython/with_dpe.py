"""The DPE Client of this project, as `drive` calls it. LIMIT is the time in ms after which it gives up."""

import drive  # type: ignore[import-not-found]

from dpe_device.registration import REGISTERED
from dpe_device.udp import register


class Memory:
    """The storage of a device that was never registered."""

    record: "bytes | None" = None

    def load(self) -> "bytes | None":
        """Return what was saved last."""
        return self.record

    def save(self, record: bytes) -> None:
        """Keep a record."""
        self.record = record


def _register(
    realm: str, handle: bytes, key: bytes, host: str, port: int, ack_timeout: int, limit: int
) -> "tuple[bytes | None, int]":
    credential = {"server": "coap://" + host + ":" + str(port), "realm": realm, "handle": handle, "device_key": key}
    done = register(
        credential,
        Memory(),
        ack_timeout=ack_timeout,
        backoff=ack_timeout * 5 // 2,  # as in its defaults, 2 s and 5 s
        deadline_ms=limit,
    )
    return done.client_id if done.state == REGISTERED else None, getattr(done, "taken", 0)


drive.run(_register)
