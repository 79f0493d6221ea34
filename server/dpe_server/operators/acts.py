"""What an operator may do to one device, from a page or over HTTP: each act is in the journal and in the audit log.

``by`` says who does it, in the audit log's line. Nothing here asks whether they may.
"""

import re
import time

from dpe_coap.errors import LocalError
from dpe_coap.imei import DIGITS, Imei
from dpe_server.operation.acts import note
from dpe_server.operation.journal import enact
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators.imposing import impose
from dpe_server.policy import Vocabulary, read_override
from dpe_server.store.contract import End, Outcome, OverridePolicies, Revoke, Session, Store, Unrevoke

LONGEST_REASON = 200
"""Characters of a reason."""
_LIKE_AN_IMEI = re.compile(f"[0-9]{{{DIGITS}}}")
_BETWEEN = {ord(mark): None for mark in " -/"}  # what people write between the digits


class NotNotedError(LocalError):
    """What was asked for is not shown, because the audit log cannot tell of it."""


def end(opened: StateDir, store: Store, device: bytes, by: str) -> bool:
    """End the session of ``device``; the device may register anew. Return whether it had one. StoreError."""
    (outcome,) = enact(opened.journal_path, store, [End(device, int(time.time()))])
    if outcome is Outcome.SESSION_ENDED:
        note(opened, "session-ended", [device], why="operator", by=by)
    return outcome is Outcome.SESSION_ENDED


def revoke(opened: StateDir, store: Store, device: bytes, by: str) -> bool:
    """Refuse ``device`` from now on, and end its session. Return whether it had one. StoreError."""
    at = int(time.time())
    (outcome,) = impose(opened, store, [device], lambda name: Revoke(name, at), "revoked", ends="revoked", by=by)
    return outcome is Outcome.SESSION_ENDED


def lift(opened: StateDir, store: Store, device: bytes, by: str) -> bool:
    """Let ``device`` register again. Return whether it was revoked. StoreError."""
    (outcome,) = enact(opened.journal_path, store, [Unrevoke(device)])
    if outcome is Outcome.COMMITTED:
        note(opened, "unrevoked", [device], by=by)
    return outcome is Outcome.COMMITTED


def override(opened: StateDir, store: Store, device: bytes, report: str, vocabulary: Vocabulary, by: str) -> bytes:
    """Have ``device`` report by ``report`` (TOML with one table, ``report``) in place of what its rule says.

    Returns the policies, encoded. PolicyError has every fault of the text; StoreError.
    """
    policies = read_override(report, vocabulary, "report")
    enact(opened.journal_path, store, [OverridePolicies(device, policies)])
    note(opened, "policies-set", [device], by=by)
    return policies


def clear(opened: StateDir, store: Store, device: bytes, by: str) -> bool:
    """Have ``device`` report by its rule again. Return whether it had policies of its own. StoreError."""
    (outcome,) = enact(opened.journal_path, store, [OverridePolicies(device, None)])
    if outcome is Outcome.COMMITTED:
        note(opened, "policies-cleared", [device], by=by)
    return outcome is Outcome.COMMITTED


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
    said = reason.strip()
    if not said or len(said) > LONGEST_REASON or not said.isprintable():
        raise LocalError(
            "a reason is needed, which the audit log keeps",
            hint=f"write why you need it, in 1 to {LONGEST_REASON} characters on one line",
        )
    if _LIKE_AN_IMEI.search(said.translate(_BETWEEN)):
        raise LocalError("the reason has an IMEI in it, and the audit log keeps none", hint="write it without")
    if fault := note(opened, event, [device], reason=said, by=by):
        raise NotNotedError(f"not shown: the audit log could not be written: {fault}", hint="see: dpe doctor STATE")


def note_login(opened: StateDir, by: str, role: str) -> None:
    """Note that somebody has come in by a login link, and with which role."""
    note(opened, "web-login", by=by, role=role)
