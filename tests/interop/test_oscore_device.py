"""This device's session with aiocoap's OSCORE server: each takes what the other sends."""

from collections.abc import Mapping
from typing import Any

import aiocoap
import cbor2
from aiocoap import oscore, resource
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper

from dpe_coap.session_messages import Answer
from dpe_device import udp
from dpe_device.aes import AES
from dpe_device.device import Device
from dpe_device.registration import Registration
from tests.device.scripted import CLIENT_ID, CREDENTIAL, NEXT_HANDLE, Chance, Memory, sealed
from tests.serving import LoopThread

RECORD = b"\0\0\0\5\0\0\0\0\2" + NEXT_HANDLE + CLIENT_ID + b"\1\0" + bytes(range(64)) + b"\0" + b"4"
"""What a device has saved that registered, without a lifetime, whose numbers begin with block 4."""


class Context(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):  # type: ignore[misc]  # no types
    """The server's context of the one device."""

    echo_recovery = None
    id_context = None
    sender_id = b""
    sender_sequence_number = 0
    recipient_id = CLIENT_ID

    def __init__(self, master_secret: bytes, master_salt: bytes) -> None:
        self.alg_aead = oscore.algorithms[oscore.DEFAULT_ALGORITHM]
        self.hashfun = oscore.hashfunctions[oscore.DEFAULT_HASHFUNCTION]
        self.derive_keys(master_salt, master_secret)
        self.recipient_replay_window = oscore.ReplayWindow(32, lambda: None)
        self.recipient_replay_window.initialize_empty()

    def post_seqnoincrease(self) -> None:
        """Keep nothing."""


class Contexts:
    """What of aiocoap's credentials its site wrapper uses."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def find_oscore(self, unprotected: Mapping[int, bytes]) -> Context:
        assert unprotected[oscore.COSE_KID] == CLIENT_ID
        return self.context


class Resource(resource.Resource):  # type: ignore[misc]  # aiocoap has no types
    """``/dpe``, which remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []
        self.answer = Answer({0: {}, 1: {}}, 7200)

    async def render_post(self, request: Any) -> Any:
        report = cbor2.loads(request.payload)
        self.asked.append(report)
        if report.get(0) == self.answer.policy_etag:
            return aiocoap.Message(code=aiocoap.CHANGED)
        return aiocoap.Message(code=aiocoap.CHANGED, payload=self.answer.encode(), content_format=60)

    async def render_get(self, request: Any) -> Any:
        self.asked.append("get")
        return aiocoap.Message(code=aiocoap.CONTENT, payload=self.answer.encode(), content_format=60)

    async def render_delete(self, request: Any) -> Any:
        self.asked.append("delete")
        return aiocoap.Message(code=aiocoap.DELETED)


def test_a_session_with_aiocoap() -> None:
    storage = Memory()
    storage.record = sealed(RECORD)
    keys = Registration(dict(CREDENTIAL), storage, Chance()).oscore
    assert keys is not None
    there = Resource()

    async def serve() -> Any:
        site: Any = resource.Site()
        site.add_resource(("dpe",), there)
        protected: Any = OscoreSiteWrapper(site, Contexts(Context(*keys)))
        return await aiocoap.Context.create_server_context(protected, bind=("127.0.0.1", 0))

    with LoopThread() as loop:
        server = loop.run(serve())
        below: list[Any] = [getattr(each, "token_interface", None) for each in server.request_interfaces]
        [transport] = [each.message_interface.transport for each in below if hasattr(each, "message_interface")]
        port = transport.get_extra_info("socket").getsockname()[1]
        try:
            device = Device(dict(CREDENTIAL, server=f"coap://127.0.0.1:{port}"), storage, AES)
            assert udp.report(device, {0: 87, 1: "1.4.2", 7: 21.5}, deadline_ms=20_000) == {}
            assert device.registration.lifetime == 7200
            assert udp.report(device, {0: 86, 1: "1.4.2", 7: 22.5}, deadline_ms=20_000) == {}
            device.registration.want(1)
            assert udp.report(device, {}, deadline_ms=20_000) == {}
            assert udp.deregister(device, deadline_ms=20_000)
        finally:
            loop.run(server.shutdown())
    etag = there.answer.policy_etag
    assert there.asked == [{1: {0: 87, 1: "1.4.2", 7: 21.5}}, {0: etag, 1: {0: 86}}, "get", "delete"]
