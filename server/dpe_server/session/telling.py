"""What a device is told to report: by its rule, as the policy file has it now, or as an operator has set it."""

from dpe_server.policy import NOTHING, Policy, Told, told_of
from dpe_server.store.questions import Context


def tell(policy: Policy, context: Context) -> Told:
    """Return what the device of a session is told. If its rule is no longer in the file: nothing, and its lifetime."""
    told = policy.told(context.rule)
    if context.policies is not None:
        return told_of(context.policies, context.lifetime if told is None else told.lifetime)
    return told_of(NOTHING, context.lifetime) if told is None else told
