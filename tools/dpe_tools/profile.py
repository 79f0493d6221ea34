"""What `dpe device show` says of a device: its session, what it has reported, and what it is to report."""

import time
from dataclasses import dataclass
from typing import Any

import cbor2
from rich.cells import cell_len

from dpe_coap.client_ids import client_id_text
from dpe_coap.imei import Imei, luhn
from dpe_coap.session_messages import Policies, decode_answer, decode_policies
from dpe_server.operation.state_dir import StateDir
from dpe_server.policy import Vocabulary
from dpe_server.policy.reporting import described
from dpe_server.session.telling import tell
from dpe_server.store.contract import OverridePolicies, Session, Store
from dpe_server.store.questions import Questions, Restriction
from dpe_server.store.record import Entry, entries
from dpe_tools import diagnostic, properties
from dpe_tools.session_list import SUITES, ago, describe, moment, reported


@dataclass(frozen=True)
class Profile:
    """A device as the store has it now."""

    imei: Imei
    session: Session | None
    restriction: Restriction
    reported: list[Entry]
    policies: Policies | None
    """What it is told to report; None: it has no session and no policies of its own, or the policy has a fault."""
    override: bool
    """Whether these are policies of its own, which an operator has set."""
    vocabulary: Vocabulary
    now: int
    """Unix seconds."""


def read(opened: StateDir, store: Store, imei: Imei, name: bytes, session: Session | None) -> Profile:
    """Read what there is of the device with this ``name`` (``AtRest.device_id``) and its session.

    If the policy file has a fault, a line on standard error says so, and properties of the operator have no name.
    """
    policy = properties.policy_of(opened)
    wanted = Questions(restrictions={name})
    if session is not None:
        wanted.contexts.add(session.client_id)
    facts = store.look(wanted)
    own, told = None, None
    if session is None:
        own = _override(store, name)
    elif (context := facts.contexts[session.client_id]).found:
        own = context.policies
        told = None if policy is None else decode_answer(tell(policy, context).answer)[1].policies
    return Profile(
        imei=imei,
        session=session,
        restriction=facts.restrictions.get(name, Restriction()),
        reported=[] if session is None else list(entries(session.record)),
        policies=told if own is None else decode_policies(own),
        override=own is not None,
        vocabulary=Vocabulary() if policy is None else policy.vocabulary,
        now=int(time.time()),
    )


def _override(store: Store, name: bytes) -> bytes | None:
    """Return what an operator has set for a device that has no session."""
    for measure in store.measures():
        if isinstance(measure, OverridePolicies) and measure.device == name:
            return measure.policies
    return None


def in_json(profile: Profile) -> dict[str, Any]:
    """Return a profile for JSON. Times are in Unix seconds."""
    told: dict[str, Any] = {
        "imei": _digits(profile.imei),
        "revoked": profile.restriction.revoked,
        "minimum_epoch": profile.restriction.minimum_epoch,
        "session": None,
    }
    session, vocabulary = profile.session, profile.vocabulary
    if session is not None:
        told["session"] = describe(session, profile.now) | {"state": _state(session, profile.now)}
    told["properties"] = {} if session is None else reported(session.record, vocabulary)
    told["override"] = profile.override
    told["policies"] = None if profile.policies is None else properties.conditions(profile.policies, vocabulary)
    return told


def in_words(profile: Profile) -> list[str]:
    """Return a profile for a person, in lines."""
    lines = [("IMEI", _digits(profile.imei))]
    if profile.restriction.revoked:
        lines.append(("revoked", "yes: it cannot register"))
    if profile.restriction.minimum_epoch:
        lines.append(("minimum epoch", str(profile.restriction.minimum_epoch)))
    session, now = profile.session, profile.now
    if session is None:
        lines.append(("session", "none"))
    else:
        lines += [
            ("Client ID", client_id_text(session.client_id)),
            ("state", _state(session, now)),
            ("DPE version", str(session.version)),
            ("suite", SUITES[session.suite]),
            ("firmware", "not told" if session.firmware is None else diagnostic.text(session.firmware)),
            ("policy rule", session.rule),
            ("established", moment(session.established_at)),
            ("ends", "never" if session.expires_at is None else moment(session.expires_at)),
            ("last contact", "none yet" if session.seen_at is None else ago(session.seen_at, now)),
            ("reported", "" if profile.reported else "nothing yet"),
        ]
    told = [f"{name:<14} {value}".rstrip() for name, value in lines]
    told += _reported(profile)
    if profile.policies is not None:
        whose = "by policies of its own" if profile.override else "by its rule"
        told.append(f"{'to report':<14} {whose if profile.policies else 'nothing unasked, ' + whose}")
        told += [f"  {line}" for line in described(profile.policies, profile.vocabulary)]
    return told


def _reported(profile: Profile) -> list[str]:
    found = [
        (
            profile.vocabulary.name_of(wire := cbor2.loads(entry.property)),
            properties.shown(wire, cbor2.loads(entry.value), profile.vocabulary),
            ago(entry.at, profile.now),
        )
        for entry in profile.reported
    ]
    widths = [max((cell_len(row[column]) for row in found), default=0) for column in range(2)]
    return [f"  {_padded(name, max(12, widths[0]))} {_padded(value, widths[1])}  {when}" for name, value, when in found]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def _digits(imei: Imei) -> str:
    return f"{imei.digits}{luhn(imei.digits)}"


def _state(session: Session, now: int) -> str:
    return "ESTABLISHED" if session.expires_at is None or session.expires_at > now else "EXPIRED"
