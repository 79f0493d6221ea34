"""Devices that may not register any more, or may again."""

from fastapi import APIRouter

from dpe_server.operators import measures
from dpe_server.web.api.context import Who, problems
from dpe_server.web.api.models import Lift, Lifted, Revocation, Revoked

router = APIRouter(tags=["restrictions"])


@router.post("/revoke", response_model_exclude_unset=True, responses=problems(403, 404))
def revoke_device(who: Who, revocation: Revocation) -> Revoked:
    """Refuse a device from now on, and end its session; or refuse its credentials below an epoch.

    Name the device by its Client ID, or by its IMEI if it has no session.
    """
    with who.store() as store:
        told = measures.revoke(
            who.site.opened(),
            store,
            [who.device(store, revocation)],
            revocation.below_epoch,
            dry_run=revocation.dry_run,
            by=who.by,
            details=who.details(revocation.reason),
        )
    return Revoked.model_validate(told)


@router.post("/lift", responses=problems(403, 404))
def lift_restriction(who: Who, lift: Lift) -> Lifted:
    """Let a revoked device register again, or lift its minimum epoch. An ended session does not come back."""
    with who.store() as store:
        told = measures.lift(
            who.site.opened(),
            store,
            [who.device(store, lift)],
            below_epoch=lift.below_epoch,
            dry_run=lift.dry_run,
            by=who.by,
            details=who.details(lift.reason),
        )
    return Lifted.model_validate(told)
