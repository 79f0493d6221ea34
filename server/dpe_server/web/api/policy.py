"""The policy of this server: its rules, and what it would say."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query

from dpe_server.operators import rules
from dpe_server.policy import Traits
from dpe_server.web.api.context import Who, problems
from dpe_server.web.api.models import Explained, Firmware, Rules, Version
from dpe_server.web.api.sessions import read_version

router = APIRouter(prefix="/policy", tags=["policy"])


@router.get("", responses=problems(409))
def show_policy(who: Who) -> Rules:
    """Show the rules of the policy file, in their order. A running server has read it at its last reload."""
    return Rules.model_validate(rules.in_json(who.policy()))


@router.get("/explain", responses=problems(409))
def explain_policy(
    who: Who,
    version: Annotated[Version, Query(description="The DPE version that a device asks for.")],
    model: Annotated[
        str,
        Query(
            pattern="^[0-9]{8}$",
            description="The model of a device: the TAC, which is the first 8 digits of its IMEI.",
            examples=["49015420"],
        ),
    ],
    firmware: Annotated[Firmware | None, Query(description="The firmware that it names.")] = None,
    x25519: Annotated[bool, Query(description="Whether its REQUEST has an X25519 key.")] = False,
) -> Explained:
    """Say which rule decides about a device, why earlier ones do not, and what the device is then to report."""
    asked = read_version(version, "query.version")
    steps = who.policy().explain(Traits(asked, firmware, model, x25519))
    with who.store() as store:
        before = rules.before(store)
    return Explained.model_validate({"before": before, "steps": [asdict(step) for step in steps]})
