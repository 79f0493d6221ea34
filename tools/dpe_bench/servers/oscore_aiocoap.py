"""aiocoap's OSCORE server of reports: python -m dpe_bench.servers.oscore_aiocoap SESSIONS PORT.

SESSIONS is a file of ``session_fleet.Peers``. Prints ``ready``, and serves until SIGTERM. As aiocoap's own tests do,
it keeps contexts in memory, and nothing of a report. It finds a context by a dict: aiocoap would walk through all.
"""

import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiocoap
import cbor2
from aiocoap import oscore, resource
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper

from dpe_bench.session_fleet import Peers
from dpe_coap.binding import CONTENT_FORMAT_CBOR, SESSION_PATH
from dpe_coap.numbers import SESSION_LABEL_PROPERTIES

WINDOW = 32


class _Context(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):  # type: ignore[misc]  # no types
    echo_recovery = None
    id_context = None
    sender_id = b""
    sender_sequence_number = 0

    def __init__(self, client_id: bytes, master_secret: bytes, master_salt: bytes) -> None:
        self.alg_aead = oscore.algorithms[oscore.DEFAULT_ALGORITHM]
        self.hashfun = oscore.hashfunctions[oscore.DEFAULT_HASHFUNCTION]
        self.recipient_id = client_id
        self.derive_keys(master_salt, master_secret)
        self.recipient_replay_window = oscore.ReplayWindow(WINDOW, lambda: None)
        self.recipient_replay_window.initialize_empty()

    def post_seqnoincrease(self) -> None:
        """Keep nothing."""


class _Contexts:
    """What of aiocoap's credentials its site wrapper uses."""

    def __init__(self, contexts: Mapping[bytes, _Context]) -> None:
        self._contexts = contexts

    def find_oscore(self, unprotected: Mapping[int, bytes]) -> _Context:
        """Return the context of the kid; KeyError."""
        return self._contexts[unprotected[oscore.COSE_KID]]


class _Reports(resource.Resource):  # type: ignore[misc]  # aiocoap has no types
    async def render_post(self, request: Any) -> Any:
        """Read a report, and keep nothing of it."""
        try:
            good = request.opt.content_format == CONTENT_FORMAT_CBOR
            good = good and isinstance(cbor2.loads(request.payload)[SESSION_LABEL_PROPERTIES], dict)
        except (cbor2.CBORDecodeError, LookupError, TypeError):
            good = False
        return aiocoap.Message(code=aiocoap.CHANGED if good else aiocoap.BAD_REQUEST)


async def _serve(peers: Peers, port: int) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    contexts = {each: _Context(each, peers.master_secret, peers.master_salt) for each in peers.client_ids}
    site: Any = resource.Site()
    site.add_resource(SESSION_PATH, _Reports())
    protected: Any = OscoreSiteWrapper(site, _Contexts(contexts))
    context: Any = await aiocoap.Context.create_server_context(protected, bind=("127.0.0.1", port))
    print("ready", flush=True)
    await stopping.wait()
    await context.shutdown()


if __name__ == "__main__":
    asyncio.run(_serve(Peers.read(Path(sys.argv[1])), int(sys.argv[2])))
