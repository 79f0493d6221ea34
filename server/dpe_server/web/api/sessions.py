"""Sessions: listed, shown and ended."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query

from dpe_coap.client_ids import client_id_text
from dpe_coap.errors import LocalError
from dpe_coap.messages import Version as DpeVersion
from dpe_server.operators import measures, searching
from dpe_server.operators.sessions import describe, describe_all, state_of
from dpe_server.store.listing import Wanted
from dpe_server.store.record import count
from dpe_server.web.api.context import Who, problems
from dpe_server.web.api.models import ClientId, Ended, Epoch, Firmware, ListedSession, Sessions, Version
from dpe_server.web.api.problems import Fault, Problem

router = APIRouter(prefix="/sessions", tags=["sessions"])

Limit = Annotated[int, Query(ge=1, le=searching.AT_ONCE, description="The most that come in one answer.")]


@router.get("", response_model_exclude_unset=True, responses=problems())
def list_sessions(
    who: Who,
    rule: Annotated[str | None, Query(max_length=200, description="Accepted by this rule of the policy.")] = None,
    version: Annotated[Version | None, Query(description="Of this DPE version.")] = None,
    firmware: Annotated[Firmware | None, Query(description="Begun with this firmware.")] = None,
    epoch: Annotated[Epoch | None, Query(description="Begun with a credential of this key epoch.")] = None,
    below_epoch: Annotated[Epoch | None, Query(description="Begun with a credential of a lower key epoch.")] = None,
    unknown_epoch: Annotated[bool, Query(description="Begun by an earlier version, which kept no key epoch.")] = False,
    silent_for: Annotated[
        int | None, Query(ge=0, le=2**32, description="Last heard longer ago than this, in seconds.")
    ] = None,
    properties: Annotated[bool, Query(description="Also tell what each device has reported.")] = False,
    cursor: Annotated[
        str | None, Query(pattern="^[0-9a-f]{14}$", description="`next` of the answer before, to go on.")
    ] = None,
    limit: Limit = 100,
) -> Sessions:
    """List live sessions by Client ID: those that fit all filters that are given.

    One request looks at 200 sessions at most. So with a filter, an answer may have few sessions, or none, while `next`
    says that there may be more.
    """
    now = int(time.time())
    wanted = Wanted(
        rule=rule,
        version=None if version is None else read_version(version, "query.version"),
        firmware=firmware,
        epoch=epoch,
        below_epoch=below_epoch,
        unknown_epoch=unknown_epoch,
        heard_before=None if silent_for is None else now - silent_for,
    )
    with who.store() as store:
        found = searching.search(
            store, wanted, now, after=-1 if cursor is None else int(cursor, 16), most=limit, rounds=1
        )
    vocabulary = who.site.policy.vocabulary() if properties else None
    told = {
        "sessions": list(describe_all(found.sessions, now, vocabulary)),
        "next": None if found.after is None else client_id_text(found.after),
    }
    return Sessions.model_validate(told)


@router.get("/{client_id}", response_model_exclude_unset=True, responses=problems(404))
def show_session(who: Who, client_id: ClientId) -> ListedSession:
    """Show the session that holds a Client ID."""
    now = int(time.time())
    with who.store() as store:
        session = who.holder(store, client_id)
    told: dict[str, Any] = describe(session, now) | {"state": state_of(session, now), "reported": count(session.record)}
    return ListedSession.model_validate(told)


@router.delete("/{client_id}", responses=problems(403, 404))
def end_session(who: Who, client_id: ClientId) -> Ended:
    """End the session that holds a Client ID.

    The device is answered 4.01 from now on, and registers anew by itself. To keep it from that, revoke it.
    """
    with who.store() as store:
        device = who.holder(store, client_id).device
        ended = measures.end(who.site.opened(), store, [device], by=who.by)
    return Ended(sessions_ended=ended)


def read_version(text: str, where: str) -> DpeVersion:
    """Read a DPE version; Problem."""
    try:
        return DpeVersion.parse(text)
    except LocalError as error:
        fault = Fault(where=where, what=error.hint)
        raise Problem(422, "the request is not as it must be", hint=error.hint, faults=[fault]) from None
