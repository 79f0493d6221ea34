"""What the policy of a server says, and what comes before it."""

from typing import Any

from dpe_server.policy import Policy, describe
from dpe_server.store.contract import NOBODY, Store
from dpe_server.store.questions import Questions, Restriction


def in_json(policy: Policy) -> dict[str, Any]:
    """Return the rules of a policy for JSON, in their order."""
    rules = [
        {"line": rule.line, "name": rule.name, "for": rule.asks(), "answer": describe(rule.decision)}
        for rule in policy.rules
    ]
    return {"rules": rules, "allow_clear_imei": policy.allow_clear_imei}


def before(store: Store, device: bytes = NOBODY) -> str:
    """Return what the server answers a device before it asks the policy, or an empty string.

    ``device`` is its name (``AtRest.device_id``); without one, it is what holds for any device.
    """
    facts = store.look(Questions(restrictions={device}))
    found = facts.restrictions.get(device, Restriction())
    if found.revoked:
        return "the device is revoked and gets 4.01, whatever the policy says"
    minimum = max(facts.minimum_epoch, found.minimum_epoch)
    return f"a credential below epoch {minimum} gets the status reprovision" if minimum else ""
