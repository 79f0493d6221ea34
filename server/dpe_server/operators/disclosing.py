"""Who looks behind a Client ID, from a page or over HTTP: the reason is in the audit log before anything is shown.

``by`` says who does it. Nothing here asks whether they may.
"""

import re

from dpe_coap.errors import LocalError
from dpe_coap.imei import DIGITS, Imei
from dpe_server.operation.acts import note
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Session

LONGEST_REASON = 200
"""Characters of a reason."""
_LIKE_AN_IMEI = re.compile(f"[0-9]{{{DIGITS}}}")
_BETWEEN = {ord(mark): None for mark in " -/"}  # what people write between the digits


class NotNotedError(LocalError):
    """What was asked for is not shown, because the audit log cannot tell of it."""


def imei_of(opened: StateDir, session: Session, reason: str, by: str) -> Imei:
    """Return the IMEI of the device of a session, once the audit log has the ``reason``.

    LocalError: there is no reason, or it is too long. NotNotedError: it could not be written, so nothing is shown.
    AtRestError: the IMEI does not open.
    """
    imei = opened.at_rest.open_imei(session.sealed_imei, session.device)
    note_shown(opened, session.device, reason, by)
    return imei


def device_of(opened: StateDir, imei: Imei, reason: str, by: str) -> bytes:
    """Return the name of the device with this IMEI, once the audit log has the ``reason``. See ``imei_of``."""
    device = opened.at_rest.device_id(imei)
    note_shown(opened, device, reason, by, event="device-looked-up")
    return device


def note_shown(opened: StateDir, device: bytes, reason: str, by: str, *, event: str = "imei-shown") -> None:
    """Note why an IMEI and a device are put together. See ``imei_of``."""
    said = kept_reason(reason)
    if fault := note(opened, event, [device], reason=said, by=by):
        raise NotNotedError(f"not shown: the audit log could not be written: {fault}", hint="see: dpe doctor STATE")


def kept_reason(reason: str) -> str:
    """Return a reason as the audit log keeps it; LocalError if it cannot be kept."""
    said = reason.strip()
    if not said or len(said) > LONGEST_REASON or not said.isprintable():
        raise LocalError(
            "a reason is needed, which the audit log keeps",
            hint=f"write why you need it, in 1 to {LONGEST_REASON} characters on one line",
        )
    if _LIKE_AN_IMEI.search(said.translate(_BETWEEN)):
        raise LocalError("the reason has an IMEI in it, and the audit log keeps none", hint="write it without")
    return said
