"""A Python server of the transport job: python -m dpe_bench.servers.transport lane|aiocoap PORT KEY.

Prints ``ready``, serves until SIGTERM, and prints its longest garbage collection.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from dpe_bench.servers.pauses import Pauses
from dpe_bench.transport_job import KINDS, NoStore, TransportJob
from dpe_coap.binding import CONTENT_FORMAT_CBOR, MAX_PAYLOAD, PATH
from dpe_server.handling.reply import Reply


@asynccontextmanager
async def lane(port: int, job: TransportJob) -> AsyncIterator[None]:
    """Serve on this server's lane, as dpe_server.operation.server puts it together."""
    from dpe_server.coap.aiocoap_endpoint import CoapServer
    from dpe_server.coap.fairness import Fairness
    from dpe_server.coap.lane import Entrance, Lane
    from dpe_server.coap.options import uri_path
    from dpe_server.coap.subjects import Crowds
    from dpe_server.handling.batching import Batcher
    from dpe_server.net.udp import listen
    from dpe_server.operation.resources import router

    sockets, _ = listen([f"127.0.0.1:{port}"], scheduling=partial(Fairness, subjects={}, crowds=Crowds()))
    batcher = Batcher(NoStore(), retry_after=1)
    entrance = Entrance(uri_path(PATH), CONTENT_FORMAT_CBOR, MAX_PAYLOAD, KINDS, partial(batcher.take, job))
    lanes = [Lane(socket, [entrance]) for socket in sockets]
    server = CoapServer(lanes, router(partial(batcher.submit, job)), retry_after=1)
    server.start()
    yield
    await server.stop()
    await batcher.close()
    await server.close()


@asynccontextmanager
async def stock_aiocoap(port: int, job: TransportJob) -> AsyncIterator[None]:
    """Serve on stock aiocoap."""
    from dpe_bench.servers.stock_aiocoap import start

    async def answer(payload: bytes) -> Reply:
        (reply,) = job.read([payload], 0).replies
        return reply

    context = await start(port, answer)
    yield
    await context.shutdown()


SERVERS = {"lane": lane, "aiocoap": stock_aiocoap}


async def _serve(name: str, port: int, key: bytes) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with SERVERS[name](port, TransportJob(key)):
        pauses = Pauses()
        print("ready", flush=True)
        await stopping.wait()
        pauses.report()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])))
