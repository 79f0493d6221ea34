"""What there is of a device: its session, what it has reported, and what it is to report."""

from dataclasses import dataclass, field
from typing import Any

from dpe_coap.session_messages import Policies, decode_answer, decode_policies
from dpe_server.operators.properties import conditions, reported
from dpe_server.operators.sessions import describe, state_of
from dpe_server.policy import Policy, Vocabulary
from dpe_server.session.telling import tell
from dpe_server.store.contract import OverridePolicies, Session, Store
from dpe_server.store.questions import Questions, Restriction
from dpe_server.store.record import Entry, entries


@dataclass(frozen=True)
class Profile:
    """A device as the store has it now."""

    device: bytes = field(repr=False)
    session: Session | None
    restriction: Restriction
    reported: list[Entry] = field(repr=False)
    policies: Policies | None
    """What it is told to report; None: it has no session and no policies of its own, or the policy has a fault."""
    override: bool
    """Whether these are policies of its own, which an operator has set."""
    vocabulary: Vocabulary
    now: int
    """Unix seconds."""


def read(
    store: Store, device: bytes, session: Session | None, policy: Policy | None, now: int, *, everywhere: bool = True
) -> Profile:
    """Read what there is of a ``device`` (``AtRest.device_id``) and its session.

    Without a ``policy``, as it has a fault, properties of the operator have no name. Policies of its own of a device
    without a session are looked for among all measures, so ``everywhere`` may forbid it where that is too many.
    """
    wanted = Questions(restrictions={device})
    if session is not None:
        wanted.contexts.add(session.client_id)
    facts = store.look(wanted)
    own, told = None, None
    if session is None:
        own = _override(store, device) if everywhere else None
    elif (context := facts.contexts[session.client_id]).found:
        own = context.policies
        told = None if policy is None else decode_answer(tell(policy, context).answer)[1].policies
    return Profile(
        device=device,
        session=session,
        restriction=facts.restrictions.get(device, Restriction()),
        reported=[] if session is None else list(entries(session.record)),
        policies=told if own is None else decode_policies(own),
        override=own is not None,
        vocabulary=Vocabulary() if policy is None else policy.vocabulary,
        now=now,
    )


def _override(store: Store, device: bytes) -> bytes | None:
    """Return what an operator has set for a device that has no session."""
    for measure in store.measures():
        if isinstance(measure, OverridePolicies) and measure.device == device:
            return measure.policies
    return None


def in_json(profile: Profile) -> dict[str, Any]:
    """Return a profile for JSON, without the IMEI. Times are in Unix seconds."""
    told: dict[str, Any] = {
        "revoked": profile.restriction.revoked,
        "minimum_epoch": profile.restriction.minimum_epoch,
        "session": None,
    }
    session, vocabulary = profile.session, profile.vocabulary
    if session is not None:
        told["session"] = describe(session, profile.now) | {"state": state_of(session, profile.now)}
    told["properties"] = {} if session is None else reported(session.record, vocabulary)
    told["override"] = profile.override
    told["policies"] = None if profile.policies is None else conditions(profile.policies, vocabulary)
    return told
