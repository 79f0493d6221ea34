"""A device: its session, what it has reported, what it is told, its last registration; and what may be done to it."""

import re
import time
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dpe_coap.errors import LocalError
from dpe_coap.imei import luhn
from dpe_server.keys.at_rest import device_text
from dpe_server.operators import audit_log, disclosing, measures
from dpe_server.operators.audit_log import Wanted
from dpe_server.operators.conversation import registration_of
from dpe_server.operators.profile import Profile, read
from dpe_server.operators.properties import decoded, shown
from dpe_server.operators.sessions import SUITES, state_of
from dpe_server.operators.times import moment
from dpe_server.policy import Policy, PolicyError, Vocabulary, describe, read_override
from dpe_server.policy.reporting import described
from dpe_server.store.contract import Session, Store
from dpe_server.store.record import entries
from dpe_server.web.door import Role, Visitor
from dpe_server.web.faults import Fault
from dpe_server.web.forms import posted
from dpe_server.web.pages.audit import in_columns
from dpe_server.web.pages.common import address, site_of
from dpe_server.web.rendering import page
from dpe_server.web.sequence import diagram
from dpe_server.web.site import Site
from dpe_server.web.streams import answer, event, pause

LINES = 50
"""Of the audit log, about one device."""
EVERY = 2.0
"""Seconds between two looks at a session that somebody watches."""


class Act(NamedTuple):
    """What an operator may do to a device."""

    title: str
    means: str
    button: str
    do: Callable[[Site, Store, bytes, Session | None, FormData, str], object]


def device(request: Request) -> Response:
    """Show a device."""
    site = site_of(request)
    policy = site.policy.read_if_good()
    with site.stores.open() as store:
        name, session = _found(store, request)
        profile = read(store, name, session, policy, int(time.time()), everywhere=False)
    lines = _lines(site, name)
    registration = None if session is None else registration_of(session, lines, site.capture)
    return page(
        request,
        "device.html",
        name=request.path_params["name"],
        now=profile.now,
        hash=device_text(name),
        session=session,
        state=None if session is None else state_of(session, profile.now),
        suite=None if session is None else SUITES[session.suite],
        restriction=profile.restriction,
        properties=[] if session is None else _properties(session.record, profile.vocabulary),
        told=None if profile.policies is None else described(profile.policies, profile.vocabulary),
        override=profile.override,
        rule=_rule(policy, session),
        registration=registration,
        diagram=None if registration is None else diagram(registration),
        lines=[in_columns(line) for line in lines[:20]],
        acts=_allowed(profile),
    )


def _found(store: Store, request: Request) -> tuple[bytes, Session | None]:
    """Return the device that the address names, and its session; Fault if there is none."""
    name = request.path_params["name"]
    if re.fullmatch(r"[0-9a-f]{32}", name):
        return bytes.fromhex(name), store.session_of(bytes.fromhex(name))
    if not re.fullmatch(r"[0-9a-f]{14}", name):
        raise Fault(404, "This names no device.", "Search for its session, or for its IMEI.")
    session = store.session(int(name, 16))
    if session is None:
        raise Fault(
            404, f"No session has the Client ID {name}.", "It has ended; the audit log says when, and of which device."
        )
    return session.device, session


async def stream(request: Request) -> Response:
    """Send what a device has reported, and when it was heard, when that changes."""
    site = site_of(request)
    name = request.path_params["name"]
    if not re.fullmatch(r"[0-9a-f]{14}", name):
        raise Fault(404)

    async def events() -> AsyncIterator[str]:
        before: dict[str, object] | None = None
        while not site.ending.is_set():
            now = await run_in_threadpool(_now, site, int(name, 16))
            if now != before:
                yield event(now)
                before = now
            await pause(site, EVERY)

    return answer(request, events())


def _now(site: Site, client_id: int) -> dict[str, object]:
    """Return what may have changed of a session since a page was made."""
    with site.stores.open() as store:
        session = store.session(client_id)
    if session is None:
        return {"session": False, "seen": "", "properties": []}
    seen = "" if session.seen_at is None else moment(session.seen_at)
    return {"session": True, "seen": seen, "properties": _properties(session.record, site.policy.vocabulary())}


def _lines(site: Site, device: bytes) -> list[dict[str, object]]:
    try:
        return audit_log.newest(site.opened().audit_path, Wanted(device=device_text(device)), most=LINES).lines
    except OSError:
        return []


def _properties(record: bytes, vocabulary: Vocabulary) -> list[dict[str, object]]:
    found = []
    for entry in entries(record):
        wire = decoded(entry.property)
        value = shown(wire, decoded(entry.value), vocabulary)
        found.append({"name": vocabulary.name_of(wire), "value": value, "at": entry.at, "since": moment(entry.at)})
    return found


def _rule(policy: Policy | None, session: Session | None) -> dict[str, object] | None:
    """Return the rule that has accepted a session, as the file has it now."""
    if session is None:
        return None
    found = None if policy is None else next((one for one in policy.rules if one.name == session.rule), None)
    if found is None:
        return {"name": session.rule, "line": None, "for": "", "answer": ""}
    return {"name": found.name, "line": found.line, "for": found.asks(), "answer": describe(found.decision)}


def _allowed(profile: Profile) -> list[tuple[str, str]]:
    """Return what can be done to a device as it is: the name in the address, and the title."""
    names = []
    if profile.session is not None:
        names += ["end", "override"]
        if profile.override:
            names.append("clear")
        names.append("imei")
    names.append("lift" if profile.restriction.revoked else "revoke")
    return [(name, ACTS[name].title) for name in names]


def _end(site: Site, store: Store, device: bytes, session: Session | None, form: FormData, by: str) -> None:
    measures.end(site.opened(), store, [device], by=by)


def _revoke(site: Site, store: Store, device: bytes, session: Session | None, form: FormData, by: str) -> None:
    measures.revoke(site.opened(), store, [device], by=by)


def _lift(site: Site, store: Store, device: bytes, session: Session | None, form: FormData, by: str) -> None:
    measures.lift(site.opened(), store, [device], by=by)


def _override(site: Site, store: Store, device: bytes, session: Session | None, form: FormData, by: str) -> None:
    vocabulary = site.policy.vocabulary()
    policies = read_override(str(form.get("report", "")), vocabulary, "report")
    measures.set_policies(site.opened(), store, device, policies, vocabulary, by=by)


def _clear(site: Site, store: Store, device: bytes, session: Session | None, form: FormData, by: str) -> None:
    if session is not None:
        measures.clear_policies(site.opened(), store, session, by=by)


def _imei(site: Site, store: Store, device: bytes, session: Session | None, form: FormData, by: str) -> str:
    if session is None:
        raise LocalError("the device has no session, so its IMEI is not here", hint="only a session has one, sealed")
    imei = disclosing.imei_of(site.opened(), session, str(form.get("reason", "")), by)
    return f"{imei.digits}{luhn(imei.digits)}"


ACTS = {
    "end": Act(
        "End the session",
        "The device is answered 4.01 from now on, and registers anew by itself. To keep it from that, revoke it.",
        "End the session",
        _end,
    ),
    "revoke": Act(
        "Revoke the device",
        "The device is refused from now on, and its session ends at once. It can be lifted.",
        "Revoke the device",
        _revoke,
    ),
    "lift": Act(
        "Lift the revocation",
        "The device may register again with the credential that it has. Its old session does not come back.",
        "Lift the revocation",
        _lift,
    ),
    "override": Act(
        "Set policies of its own",
        "The device reports by these policies in place of its rule's, in this session and all later ones. It is told in"
        " the answer to its next report.",
        "Set these policies",
        _override,
    ),
    "clear": Act(
        "Go back to its rule's policies", "From its next report on, the device reports by its rule.", "Go back", _clear
    ),
    "imei": Act(
        "Show the IMEI",
        "The audit log notes that you have seen it, and why.",
        "Show the IMEI",
        _imei,
    ),
}


def confirm(request: Request) -> Response:
    """Ask whether something is to be done."""
    visitor: Visitor = request.state.visitor
    if not visitor.role.covers(Role.OPERATOR):
        raise Fault(403, "You may look, and not act.", "Ask for a login link of a dpe web without --read-only.")
    return _asking(request)


def _asking(request: Request, *, problems: list[str] | None = None, report: str = "[report]\n") -> Response:
    site = site_of(request)
    with site.stores.open() as store:
        name, session = _found(store, request)
    act = request.path_params["act"]
    return page(
        request,
        "confirm.html",
        status=400 if problems else 200,
        name=request.path_params["name"],
        hash=device_text(name),
        session=session,
        act=act,
        what=_act(act),
        problems=problems or [],
        report=report,
    )


def _act(name: str) -> Act:
    if name not in ACTS:
        raise Fault(404)
    return ACTS[name]


def _do(request: Request, visitor: Visitor, form: FormData) -> Response:
    site = site_of(request)
    act = _act(request.path_params["act"])
    try:
        with site.stores.open() as store:
            name, session = _found(store, request)
            result = act.do(site, store, name, session, form, visitor.name)
    except PolicyError as error:
        return _asking(request, problems=list(error.report), report=str(form.get("report", ""))[:4_000])
    except LocalError as error:
        return _asking(request, problems=[f"{error}: {error.hint}"], report=str(form.get("report", ""))[:4_000])
    if isinstance(result, str):
        assert session is not None
        return page(
            request,
            "imei.html",
            name=request.path_params["name"],
            imei=result,
            session=session,
        )
    # By its hash: a session that has ended has no Client ID any more.
    return RedirectResponse(address(f"/devices/{name.hex()}", done=request.path_params["act"]), 303)


ROUTES = [
    Route("/devices/{name}", device),
    Route("/devices/{name}/stream", stream),
    Route("/devices/{name}/{act}", confirm, methods=["GET"]),
    Route("/devices/{name}/{act}", posted(_do), methods=["POST"]),
]
