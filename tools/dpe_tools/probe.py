"""Asks a CoAP server which resources it offers: the discovery probe of `dpe doctor`."""

import asyncio

import aiocoap
from aiocoap.error import Error as CoapError

from dpe_tools import reach


def discover(uri: str, timeout: float) -> str | None:
    """Return the links of ``uri``'s /.well-known/core (RFC 6690), or None if the CoAP server there gives none.

    Every address of a name is tried. Raises NoAnswer if no address is known, or no CoAP server answers within
    ``timeout`` seconds; LocalError if ``uri`` is none.
    """
    place = reach.knock(uri, reach.look_up(uri, timeout), timeout)
    return asyncio.run(_discover(f"coap://{place}", timeout))


async def _discover(uri: str, timeout: float) -> str | None:  # noqa: ASYNC109  # the caller's limit on the whole probe
    context = await aiocoap.Context.create_client_context()
    try:
        request = aiocoap.Message(code=aiocoap.GET, uri=f"{uri}/.well-known/core")
        async with asyncio.timeout(timeout):
            response = await context.request(request).response
        return response.payload.decode("utf-8", "replace") if response.code.is_successful() else None
    except (CoapError, OSError, TimeoutError):
        return None
    finally:
        await context.shutdown()
