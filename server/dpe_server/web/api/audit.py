"""The audit log of this server, from its end backwards."""

from typing import Annotated

from fastapi import APIRouter, Query

from dpe_server.operators import audit_log
from dpe_server.web.api.context import Who, problems
from dpe_server.web.api.models import Audit
from dpe_server.web.api.problems import Problem, unavailable

router = APIRouter(prefix="/audit", tags=["audit"])


@router.get("", response_model_exclude_unset=True, responses=problems(410))
def read_audit(
    who: Who,
    event: Annotated[str, Query(max_length=64, description="Lines of this event.")] = "",
    device: Annotated[
        str, Query(pattern="^([0-9a-f]{16})?$", description="Lines of this device, as the log names it.")
    ] = "",
    registration: Annotated[int | None, Query(ge=0, lt=2**63, description="Lines of this registration.")] = None,
    client_id: Annotated[str, Query(pattern="^([0-9a-f]{14})?$", description="Lines of this Client ID.")] = "",
    cursor: Annotated[
        str | None,
        Query(pattern="^[0-9]{1,20}-[0-9]{1,19}$", description="`next` of the answer before, to go on."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="The most lines that come in one answer.")] = 100,
) -> Audit:
    """Read the audit log, the newest line first. One request looks at 4 MiB of it at most."""
    wanted = audit_log.Wanted(event, device, registration, client_id)
    before = None if cursor is None else audit_log.Place.parse(cursor)
    try:
        found = audit_log.newest(who.site.opened().audit_path, wanted, before=before, most=limit)
    except LookupError:
        raise Problem(
            410, "that part of the audit log is not kept any more", hint="begin anew, without cursor"
        ) from None
    except OSError:
        raise unavailable() from None
    return Audit.model_validate({"lines": found.lines, "next": None if found.place is None else str(found.place)})
