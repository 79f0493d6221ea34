"""Bad and good requests to every resource of the HTTP API, made from its OpenAPI document by schemathesis.

The application is that of `dpe web`. No answer may be a 500 or one that the document does not have, none may have an
IMEI, a key or an access token in it, and requests that the document does not allow must be refused.
"""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks
from starlette.types import ASGIApp, Receive, Scope, Send

from dpe_server.web.api import PREFIX
from tests.assurance import trials
from tests.server.web.api.held import IMEIS, Held, made

CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.missing_required_header,
    checks.unsupported_method,
    checks.allow_header_conformance,
]
Operation = schemathesis.APIOperation[Any, Any, Any, Any]
SHOWS = ("POST", "/devices/{client_id}/imei")
"""What shows an IMEI."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to do."""

    examples: int = 500
    """Of good and of bad requests to each operation."""
    seed: int = 1
    only: str = ""
    """The path of the operations to ask, as the document has it; empty: all."""


@dataclass(slots=True)
class Report:
    """What was done and found."""

    statuses: Counter[int] = field(default_factory=Counter)
    operations: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Some lines for a person."""
        told = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        lines = [
            f"operations  {self.operations}",
            f"requests    {self.statuses.total()} ({told})",
            f"faults      {len(self.faults)}",
        ]
        return "\n".join(lines)


def run(chosen: Settings, folder: Path) -> Report:
    """Ask everything."""
    report, door = Report(), _Door()
    with made(folder) as held:
        door.app = held.client.app
        schema = schemathesis.openapi.from_asgi(f"{PREFIX}/openapi.json", door)
        schema.config.generation.with_security_parameters = False
    for operation in (found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)):
        if chosen.only not in ("", operation.path):
            continue
        report.operations += 1
        takes_something = bool(operation.body or operation.path_parameters or operation.query or operation.headers)
        for mode in GenerationMode if takes_something else [GenerationMode.POSITIVE]:
            with tempfile.TemporaryDirectory(dir=folder) as place, made(Path(place)) as held:
                door.app = held.client.app
                try:
                    _attack(held, operation, mode, chosen, report)
                except (Exception, FailureGroup) as error:
                    report.faults.append(f"{operation.method.upper()} {operation.path}, {mode.value}: {error}")
    return report


class _Door:
    """Leads to the application of the day, by an address that it knows for its own."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["headers"] = [(name, b"127.0.0.1" if name == b"host" else value) for name, value in scope["headers"]]
        await self.app(scope, receive, send)


def _attack(held: Held, operation: Operation, mode: GenerationMode, chosen: Settings, report: Report) -> None:
    names = [held.name(number) for number in range(len(held.sessions))]

    @seed(chosen.seed)
    @settings(
        max_examples=chosen.examples,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(operation.as_strategy(mode), st.sampled_from([*names, ""]))
    def ask(case: Case[Any], name: str) -> None:
        if name and "client_id" in (case.path_parameters or {}):
            case.path_parameters["client_id"] = name
        answer = case.call(headers={"Authorization": f"Bearer {held.operator}"})
        report.statuses[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)
        shown = answer.text + str(dict(answer.headers))
        hidden = held.hidden
        if (operation.method.upper(), operation.path) == SHOWS and answer.status_code == 200:
            hidden = [one for one in hidden if one not in {imei[:14] for imei in IMEIS}]
        assert not [one for one in hidden if one in shown], "it shows what it must not"

    ask()


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0 nothing found, 1 something was found, 2 wrong usage."""
    parser = trials.parser("http", __doc__)
    usual = Settings()
    text = f"good and bad requests to each operation [{usual.examples}]"
    parser.add_argument("--examples", type=int, metavar="N", default=usual.examples, help=text)
    parser.add_argument("--seed", type=int, metavar="N", default=usual.seed, help=f"repeats them [{usual.seed}]")
    parser.add_argument("--only", metavar="PATH", default=usual.only, help="ask only the operations of this path")
    return trials.run_each([partial(run, Settings(**vars(parser.parse_args(arguments))))])
