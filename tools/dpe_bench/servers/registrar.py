"""A DPE Server under measurement: python -m dpe_bench.servers.registrar lane|aiocoap STATE PORT WORKERS.

``lane`` is what `dpe serve` runs, ``aiocoap`` the same registrar, store and audit log behind stock aiocoap. Prints a
line when it is ready, serves until SIGTERM, and prints its longest garbage collection.
"""

import asyncio
import secrets
import signal
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from dpe_bench.servers.pauses import Pauses
from dpe_bench.servers.stages import Sampler
from dpe_server import policy
from dpe_server.handling.batching import Batcher
from dpe_server.operation import app
from dpe_server.operation.audit import AuditLog
from dpe_server.operation.state_dir import StateDir
from dpe_server.registration.ordinals import Ordinals
from dpe_server.registration.registrar import Registrar
from dpe_server.store.opening import open_store


def lane(path: Path, port: int, workers: int) -> None:
    """Run the server as it is."""
    app.serve(path, [f"127.0.0.1:{port}"], workers=workers)


def stock_aiocoap(path: Path, port: int, _workers: int) -> None:
    """Run the same with stock aiocoap in the place of the lane and our endpoint."""
    sys.setswitchinterval(app.SWITCH_INTERVAL)
    asyncio.run(_serve_on_aiocoap(path, port))


async def _serve_on_aiocoap(path: Path, port: int) -> None:
    from dpe_bench.servers.stock_aiocoap import start

    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    state = StateDir.open(path)
    audit = AuditLog(state.audit_path)
    with state.lock(), closing(open_store(state.store_url)) as store:
        registrar = Registrar(
            realm=state.config.realm,
            keys=state.keys,
            policy=policy.load(state.policy_path),
            random=secrets.token_bytes,
            ordinals=Ordinals.after(store.last_ordinal(), time.monotonic(), time.time()),
            retry_after=state.config.retry_after,
        )
        batcher = Batcher(
            store,
            retry_after=state.config.retry_after,
            audit=lambda records: audit.write(records, time.monotonic(), time.time()),
        )
        context = await start(port, partial(batcher.submit, registrar))
        print("listening", flush=True)
        await stopping.wait()
        await batcher.close()
        await context.shutdown()
        audit.close(time.time())


SERVERS = {"lane": lane, "aiocoap": stock_aiocoap}

if __name__ == "__main__":
    pauses = Pauses()
    sampler = Sampler() if "stages" in sys.argv else None
    SERVERS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    if sys.argv[4] == "1":  # those of workers are not known here
        pauses.report()
    if sampler is not None:
        sampler.report()
