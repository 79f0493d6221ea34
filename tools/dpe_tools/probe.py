"""Asks a CoAP server which resources it offers: the discovery probe of `dpe doctor`."""

import asyncio

import aiocoap
from aiocoap.error import Error as CoapError


def discover(uri: str, timeout: float) -> str | None:
    """Return the links of ``uri``'s /.well-known/core (RFC 6690), or None if none come within ``timeout`` seconds."""
    return asyncio.run(_discover(uri, timeout))


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
