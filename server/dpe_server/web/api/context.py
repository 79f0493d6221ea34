"""What the resources share: the site, who asks, a store for a moment, and how a device is named."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from dpe_coap.client_ids import client_id_text
from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei
from dpe_server.operation.access import Access
from dpe_server.operators import disclosing
from dpe_server.policy import Policy, PolicyError
from dpe_server.store.contract import Session, Store
from dpe_server.web.api.gate import ACCESS
from dpe_server.web.api.models import Named
from dpe_server.web.api.problems import TYPE, Fault, Problem, ProblemDocument
from dpe_server.web.site import Site

MEDIA = "application/json"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to a resource: by whom, and of which site."""

    site: Site
    access: Access

    @property
    def by(self) -> str:
        """Who asks, for the audit log."""
        return f"access-{self.access.name}"

    def details(self, reason: str | None) -> dict[str, int | str]:
        """Return what the audit log keeps beside an act; Problem if it cannot keep the reason."""
        try:
            return {} if reason is None else {"reason": disclosing.kept_reason(reason)}
        except LocalError as error:
            raise shown_why(error) from None

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Give a store; StoreError."""
        with self.site.stores.open() as store:
            yield store

    def policy(self) -> Policy:
        """Return the policy; Problem if its file has a fault."""
        try:
            return self.site.policy.read()
        except PolicyError:
            raise Problem(
                409, "the policy of this server has a fault", hint="see which, on its machine: dpe policy check STATE"
            ) from None

    def holder(self, store: Store, client_id: str) -> Session:
        """Return the session that holds a Client ID; Problem."""
        found = store.session(int(client_id, 16))
        if found is None:
            raise Problem(
                404,
                "no session holds this Client ID",
                hint="it has ended, or its device has registered anew and got another one: list the sessions",
            )
        return found

    def device(self, store: Store, named: Named) -> bytes:
        """Return the name of the device that a request is about; Problem."""
        if (named.client_id is None) == (named.imei is None):
            fault = Fault(where="body", what="either client_id or imei")
            raise Problem(422, "it is not said which device", hint="give one of the two", faults=[fault])
        if named.client_id is not None:
            return self.holder(store, named.client_id).device
        assert named.imei is not None
        return self.site.opened().at_rest.device_id(read_imei(named.imei))

    def client_id(self, session: Session) -> str:
        """Return the Client ID of a session as it is told."""
        return client_id_text(session.client_id)


def read_imei(text: str) -> Imei:
    """Read an IMEI; Problem, which shows no digit."""
    try:
        return Imei.parse(text)
    except LocalError as error:
        raise Problem(
            422,
            "the request is not as it must be",
            hint=error.hint,
            faults=[Fault(where="body.imei", what=str(error))],
        ) from None


def shown_why(error: LocalError) -> Problem:
    """Return the error for an IMEI that is not shown."""
    if isinstance(error, disclosing.NotNotedError):
        return Problem(
            503, "not shown: the audit log could not be written", hint="its operator finds why: dpe doctor STATE"
        )
    fault = Fault(where="body.reason", what=str(error))
    return Problem(422, "the request is not as it must be", hint=error.hint, faults=[fault])


def asked(request: Request) -> Asked:
    """Return who asks what."""
    return Asked(request.app.state.site, request.scope[ACCESS])


def accepts(request: Request, *media: str) -> str:
    """Return the first of ``media`` that a request accepts most (RFC 9110, 12.5.1); Problem 406 if it accepts none."""
    header = request.headers.get("accept", "").strip()
    if not header:
        return media[0]
    ranges: dict[str, float] = {}
    for part in header.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        ranges[name] = quality
    best, chosen = 0.0, ""
    for one in media:
        quality = ranges.get(one, ranges.get(f"{one.partition('/')[0]}/*", ranges.get("*/*", 0.0)))
        if quality > best:
            best, chosen = quality, one
    if not chosen:
        raise Problem(406, f"this resource is told as {' or '.join(media)}", hint="say so in the header Accept")
    return chosen


def takes_json(request: Request) -> None:
    """Refuse who does not accept JSON; Problem."""
    accepts(request, MEDIA)


Who = Annotated[Asked, Depends(asked)]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers of an operation other than what was asked for, for the OpenAPI document."""
    usual = (400, 401, 406, 408, 413, 415, 422, 429, 500, 503)
    content = {TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in sorted({*usual, *statuses})}


_MEANINGS = {
    400: "The request is not one that HTTP or JSON knows.",
    401: "No access token, or one that is not valid.",
    403: "An operator's access token is needed, or nothing can be changed here.",
    404: "There is no such session.",
    406: "The client accepts no form in which this is told.",
    408: "The body did not come in time.",
    409: "The policy of this server has a fault.",
    410: "What has changed since the cursor cannot be told any more: begin anew.",
    413: "The body is too long.",
    415: "The body is not JSON.",
    422: "Something in the request is not as it must be.",
    429: "Too many wrong access tokens, or too many streams.",
    500: "A defect of the server.",
    503: "The store does not answer.",
}
