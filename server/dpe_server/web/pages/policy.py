"""The policy in force: its rules, how often they have decided, and what it would say to a device."""

import re
from collections import Counter

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dpe_coap.errors import DpeError, LocalError
from dpe_coap.messages import Version
from dpe_server.operators import audit_log
from dpe_server.operators.scraping import read, url_of
from dpe_server.policy import PolicyError, Traits, describe
from dpe_server.web.pages.common import given, site_of
from dpe_server.web.rendering import page
from dpe_server.web.site import Site

MOST_RULES = 200
"""Rules on a page."""
SECONDS = 1.0
"""How long to wait for the metrics."""
LINES = 5_000
"""Of the audit log, that are counted if there are no metrics."""


def policy(request: Request) -> Response:
    """Show the rules and, if a device is described, what they would say to it."""
    site = site_of(request)
    asked = {name: given(request, name, 64) for name in ("version", "tac", "firmware", "x25519")}
    steps, problem, faults = None, "", []
    rules = []
    loaded = None
    try:
        loaded = site.policy.read()
    except PolicyError as error:
        faults = list(error.report)
    decided, whence = _decided(site)
    if loaded is not None:
        rules = [
            {
                "name": rule.name,
                "line": rule.line,
                "for": rule.asks(),
                "answer": describe(rule.decision),
                "decided": decided.get(rule.name, 0),
            }
            for rule in loaded.rules[:MOST_RULES]
        ]
        if asked["version"]:
            try:
                steps = loaded.explain(_traits(asked))
            except LocalError as error:
                problem = f"{error}: {error.hint}"
    return page(
        request,
        "policy.html",
        status=400 if problem else 200,
        rules=rules,
        more=0 if loaded is None else max(0, len(loaded.rules) - MOST_RULES),
        by_default=decided.get("default", 0),
        clear=loaded is not None and loaded.allow_clear_imei,
        faults=faults,
        asked=asked,
        steps=steps,
        problem=problem,
        whence=whence,
    )


def _traits(asked: dict[str, str]) -> Traits:
    if asked["tac"] and not re.fullmatch(r"[0-9]{8}", asked["tac"]):
        raise LocalError("not a TAC", hint="write the first 8 digits of the model's IMEIs")
    return Traits(
        Version.parse(asked["version"]), asked["firmware"] or None, asked["tac"] or "00000000", bool(asked["x25519"])
    )


def _decided(site: Site) -> tuple[dict[str, float], str]:
    """Return how often each rule has decided, and since when."""
    try:
        reading = read(site.metrics or url_of(site.state), SECONDS)
    except DpeError:
        pass
    else:
        counts: Counter[str] = Counter()
        for (rule, _), value in reading.each("dpe_responses_total").items():
            counts[rule] += int(value)
        return dict(counts), "since the server started"
    try:
        found = audit_log.newest(site.opened().audit_path, audit_log.Wanted(event="response"), most=LINES)
    except OSError:
        return {}, "the audit log cannot be read"
    counted = Counter(str(line.get("rule", "")) for line in found.lines)
    return dict(counted), f"among the last {len(found.lines)} RESPONSEs of the audit log"


ROUTES = [Route("/policy", policy)]
