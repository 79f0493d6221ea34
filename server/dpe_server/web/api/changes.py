"""What changes, as a stream of server-sent events, or a part at a time as JSON. From a cursor, at least once."""

import time
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from dpe_server.operators.following import CursorError
from dpe_server.web.api.context import MEDIA, Asked, Who, accepts, problems
from dpe_server.web.api.models import ChangesPart
from dpe_server.web.api.places import Part, Place, read_on
from dpe_server.web.api.problems import Fault, Problem
from dpe_server.web.api.stream import EVENTS, Stream, Streams

MOST = 200
"""The most sessions in one part, if no commit has more."""
CURSOR = "^[0-9a-f]{16}-(0|[1-9][0-9]{0,18})(-[0-9a-f]{14})?$"

router = APIRouter(tags=["changes"])

_STREAM = (
    "Events as they happen: each has in `data` one of the changes as JSON, and in `id` its cursor. An event `problem` "
    "has an error, and ends the stream. A comment comes every 15 s if nothing else does."
)


@router.get(
    "/changes",
    response_model=ChangesPart,
    response_model_exclude_unset=True,
    responses={200: {"content": {EVENTS: {"schema": {"type": "string"}}}, "description": _STREAM}, **problems(410)},
)
async def follow_changes(
    request: Request,
    who: Who,
    since: Annotated[str | None, Query(pattern=CURSOR, description="The cursor from which to go on.")] = None,
    last_event_id: Annotated[
        str | None, Header(pattern=CURSOR, description="As `since`, for a stream that is taken up again.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST, description="About how many come in one part, as JSON.")] = MOST,
) -> ChangesPart | Response:
    """Follow what devices report.

    Each change has all that one device has reported as it is now, or says that its session has ended. Whoever keeps
    what the changes say, and the cursor of the last one, may go on from there at any time within 7 days: then nothing
    is missing, and some may come twice. Of values that were overwritten meanwhile, only the last comes.

    Without a cursor, all devices come first, and whatever was kept before is void. That part, too, may be gone on with
    from a cursor within it.

    As `text/event-stream` it goes on until the client leaves; as `application/json` it is one part.
    """
    media = accepts(request, MEDIA, EVENTS)
    place = _place(since if last_event_id is None else last_event_id)
    if media == EVENTS:
        streams: Streams = request.app.state.streams
        with streams.opening(who.access.name) as slot:
            first = await run_in_threadpool(read_part, who, place, MOST)  # so that what is wrong has a status
            return Stream(slot.taken(), who, first, read_part)
    part = await run_in_threadpool(read_part, who, place, limit)
    return ChangesPart.model_validate({"changes": part.told, "cursor": str(part.place), "more": part.more})


def read_part(who: Asked, place: Place | None, most: int) -> Part:
    """Return what comes after a place; Problem, StoreError."""
    with who.store() as store:
        try:
            return read_on(store, place, who.site.policy.vocabulary(), int(time.time()), most)
        except CursorError as error:
            raise Problem(
                410, str(error), hint="begin anew, without a cursor: what there is is told as a whole"
            ) from None


def _place(text: str | None) -> Place | None:
    try:
        return None if text is None else Place.parse(text)
    except ValueError:  # a number with other digits than those that a pattern of JSON Schema means
        fault = Fault(where="query.since", what="a cursor, as it was told")
        raise Problem(
            422, "the request is not as it must be", hint="give a cursor as it was told", faults=[fault]
        ) from None
