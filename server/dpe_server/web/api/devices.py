"""Devices by their Client IDs: what there is of them, what they are to report, and for a reason their IMEIs."""

import time

from fastapi import APIRouter

from dpe_coap.errors import LocalError
from dpe_coap.imei import luhn
from dpe_server.operators import disclosing, measures, profile
from dpe_server.policy import PolicyError, read_override_table
from dpe_server.policy.reporting import described
from dpe_server.store.contract import Session, Store
from dpe_server.web.api.context import Asked, Who, problems, read_imei, shown_why
from dpe_server.web.api.models import (
    Because,
    Cleared,
    ClientId,
    Device,
    Overridden,
    Override,
    ShownImei,
    Sought,
)
from dpe_server.web.api.problems import Fault, Problem

router = APIRouter(prefix="/devices", tags=["devices"])


@router.get("/{client_id}", response_model_exclude_unset=True, responses=problems(404))
def show_device(who: Who, client_id: ClientId) -> Device:
    """Show the device that holds a Client ID: its session, what it has reported and when, and what it is to report.

    Its IMEI is not shown.
    """
    with who.store() as store:
        session = who.holder(store, client_id)
        return _told(who, store, session.device, session)


@router.post("/find", response_model_exclude_unset=True, responses=problems(403))
def find_device(who: Who, sought: Sought) -> Device:
    """Find a device by its IMEI, for a reason, which is in the audit log. Of an unknown device, nothing is known.

    Policies of its own are told of a device with a session only.
    """
    imei = read_imei(sought.imei)
    with who.store() as store:
        try:
            device = disclosing.device_of(who.site.opened(), imei, sought.reason, who.by)
        except LocalError as error:
            raise shown_why(error) from None
        return _told(who, store, device, store.session_of(device))


@router.post("/{client_id}/imei", responses=problems(403, 404))
def show_imei(who: Who, client_id: ClientId, because: Because) -> ShownImei:
    """Show the IMEI of a device, for a reason, which is in the audit log."""
    with who.store() as store:
        session = who.holder(store, client_id)
    try:
        digits = disclosing.imei_of(who.site.opened(), session, because.reason, who.by).digits
    except LocalError as error:
        raise shown_why(error) from None
    return ShownImei(imei=f"{digits}{luhn(digits)}")


@router.put("/{client_id}/override", responses=problems(403, 404, 409))
def set_override(who: Who, client_id: ClientId, override: Override) -> Overridden:
    """Have a device report by policies of its own, in place of what its rule says.

    That holds in this session and all later ones of the device, until it is deleted. The device is told in the answer
    to its next report.
    """
    vocabulary = who.policy().vocabulary
    try:
        policies = read_override_table(override.report, vocabulary, "report")
    except PolicyError as error:
        faults = [Fault(where="body", what=": ".join(filter(None, (one.key, one.message)))) for one in error.faults]
        raise Problem(
            422, "the device cannot report by that", hint="mend what `faults` names", faults=faults[:20]
        ) from None
    with who.store() as store:
        device = who.holder(store, client_id).device
        told = measures.set_policies(
            who.site.opened(),
            store,
            device,
            policies,
            vocabulary,
            dry_run=override.dry_run,
            by=who.by,
            details=who.details(override.reason),
        )
    return Overridden.model_validate(told)


@router.delete("/{client_id}/override", responses=problems(403, 404))
def clear_override(who: Who, client_id: ClientId) -> Cleared:
    """Have a device report by its rule again."""
    with who.store() as store:
        session = who.holder(store, client_id)
        return Cleared.model_validate(measures.clear_policies(who.site.opened(), store, session, by=who.by))


def _told(who: Asked, store: Store, device: bytes, session: Session | None) -> Device:
    policy = who.site.policy.read_if_good()
    found = profile.read(store, device, session, policy, int(time.time()), everywhere=False)
    told = profile.in_json(found)
    told["reporting"] = [] if found.policies is None else described(found.policies, found.vocabulary)
    if found.override:
        told["why"] = "an operator has set policies of its own"
    elif session is None:
        told["why"] = "it has no session"
    elif policy is None:
        told["why"] = "the policy of this server has a fault"
    else:
        told["why"] = f"its rule says so: {session.rule}"
    return Device.model_validate(told)
