"""Stock aiocoap: a site with one resource and discovery on its own server context, as its guided tour shows it."""

from collections.abc import Awaitable, Callable
from typing import Any

import aiocoap
from aiocoap import resource

from dpe_coap.binding import PATH
from dpe_server.handling.reply import Reply


class _Register(resource.Resource):  # type: ignore[misc]  # aiocoap has no types
    def __init__(self, answer: Callable[[bytes], Awaitable[Reply]]) -> None:
        super().__init__()
        self._answer = answer

    async def render_post(self, request: Any) -> Any:
        """Answer as ``answer`` says."""
        reply = await self._answer(request.payload)
        message: Any = aiocoap.Message(code=reply.code, payload=reply.payload)
        if reply.content_format is not None:
            message.opt.content_format = reply.content_format
        if reply.max_age is not None:
            message.opt.max_age = reply.max_age
        return message


async def start(port: int, answer: Callable[[bytes], Awaitable[Reply]]) -> Any:
    """Serve on 127.0.0.1; return aiocoap's context."""
    site: Any = resource.Site()
    site.add_resource((".well-known", "core"), resource.WKCResource(site.get_resources_as_linkheader))
    site.add_resource(PATH, _Register(answer))
    return await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port))
