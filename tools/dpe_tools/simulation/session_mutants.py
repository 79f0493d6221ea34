"""Faults to plant in the product's sessions: the other half of ``mutants``."""

from dpe_tools.simulation.invariants import names as it
from dpe_tools.simulation.mutant import Change, Mutant, one_change

_DECIDE = "dpe_server.store.commit_rules:decide"
_SESSION = "dpe_device.session:Session."
_SESSIONS = "dpe_server.session.sessions:Sessions."
_ACCEPT = "dpe_server.store.commit_rules:accept"
_MERGE = "dpe_server.store.record:merge"

OF_SESSIONS = (
    # what servers accept
    one_change(
        "a request is answered under protection, and not committed",
        it.MARK_IS_DURABLE,
        _SESSIONS + "_answer",
        "batch.changes.append(change)",
        "return self._settle(accepted, Outcome.COMMITTED, batch, now)",
    ),
    one_change(
        "a request is answered under protection although its commit has failed",
        it.MARK_IS_DURABLE,
        _SESSIONS + "complete",
        "if outcomes is not None:",
        "outcomes = outcomes or [Outcome.COMMITTED] * len(batch.accepted)\n    if True:",
    ),
    Mutant(
        "the mark is not compared",
        (it.MARK_RISES, it.ACCEPTED_ONCE),
        (
            Change(_SESSIONS + "_open", "context.mark is not None and number <= context.mark", "False"),
            Change(_ACCEPT, "if row.mark is not None and request.number <= row.mark:", "if False:"),
        ),
    ),
    one_change(
        "the mark is compared before the commit, and not in it",
        it.ACCEPTED_ONCE,
        _ACCEPT,
        "if row.mark is not None and request.number <= row.mark:",
        "if False:",
    ),
    one_change(
        "whose attempt has raised the mark is not compared",
        it.ACCEPTED_ONCE,
        _ACCEPT,
        "(request.number, request.attempt) != (row.mark, row.attempt)",
        "request.number != row.mark",
    ),
    Mutant(
        "a repeat is decided and protected again, instead of what is remembered",
        (it.ACCEPTED_ONCE, it.ONE_PLAINTEXT),
        (
            Change(_SESSIONS + "read", "again = self._answers.again(client_id, payload, now)", "again = None"),
            Change(_SESSIONS + "_open", "number <= context.mark", "number < context.mark"),
            Change(
                _ACCEPT,
                "(request.number, request.attempt) != (row.mark, row.attempt)",
                "request.number != row.mark",
            ),
        ),
    ),
    one_change(
        "the answer to a request is not remembered",
        it.SAME_REPLY,
        _SESSIONS + "_settle",
        "self._answers.keep(client_id, accepted.payload, ciphertext, now)",
        "pass",
    ),
    one_change(
        "the ordinal is not compared in the commit",
        it.AS_REPORTED,
        _ACCEPT,
        "row is None or row.ordinal != request.ordinal",
        "row is None",
    ),
    Mutant(
        "the keys of a session are kept by Client ID alone",
        (it.LAST_WORD, it.REQUEST_NEEDS_KEY),
        (Change("dpe_server.session.contexts:Contexts.known", "if used[0] == ordinal", "if not used[0] >> 63"),),
    ),
    Mutant(
        "a session that is over is not over",
        (it.OVER_IS_OVER,),
        (
            Change(_SESSIONS + "_open", "context.expires_at is not None and context.expires_at <= wall", "False"),
            Change(_ACCEPT, "if row.expires_at is None or row.expires_at > now", ""),
        ),
    ),
    one_change(
        "a request does not refresh its session",
        it.AS_REPORTED,
        _ACCEPT,
        "None if lifetime is None else now + lifetime",
        "row.expires_at",
    ),
    one_change(
        "what is reported is merged with the row as it was before the commit",
        it.AS_REPORTED,
        _ACCEPT,
        "live[client_id] = changed[client_id] = row",
        "changed[client_id] = row; live[client_id] = row._replace(record=live[client_id].record)",
    ),
    one_change(
        "what is reported replaces the record",
        it.AS_REPORTED,
        _MERGE,
        "while at < len(record):",
        "while False:",
    ),
    one_change(
        "a property that is not there any more stays",
        it.AS_REPORTED,
        _MERGE,
        "if value == NULL:",
        "if False:",
    ),
    one_change(
        "DELETE is answered, and the session stays",
        it.END_IS_DURABLE,
        _ACCEPT,
        "ended.append(client_id)",
        "pass",
    ),
    Mutant(
        "the trace of an ended session refuses no late SUCCESS",
        (it.STAYS_ENDED, it.NEWER_WINS),
        (
            Change(
                _DECIDE,
                "if mine and mine.ordinal >= session.ordinal:",
                "if mine and mine.client_id is not None and mine.ordinal >= session.ordinal:",
            ),
        ),
    ),
    Mutant(
        "a server does not know that its database was put back",
        (it.STAYS_ENDED, it.MARK_RISES),
        (Change("dpe_server.store.commit_rules:check_beat", "if remembered is None or", "if True or"),),
    ),
    # what they answer
    one_change(
        "4.01 tells whether there is such a session",
        it.REFUSED_ALIKE,
        _SESSIONS + "_answer",
        "return UNAUTHORIZED",
        "return UNAUTHORIZED._replace(max_age=1) if context.found else UNAUTHORIZED",
    ),
    one_change(
        "a device is told what another rule says",
        it.TOLD,
        "dpe_server.session.telling:tell",
        "policy.told(context.rule)",
        'policy.told("all")',
    ),
    one_change(
        "a device with any policies is taken for one with the current ones",
        it.TOLD,
        _SESSIONS + "_answer",
        "asked.policy_etag == told.etag",
        "asked.policy_etag is not None",
    ),
    one_change(
        "requests that prove nothing use up a device's share",
        it.FIRST_REPORT,
        _SESSIONS + "_answer",
        "opened = self._open(",
        "proves_nothing = not self._shares.take(client_id, now)\n"
        "    if proves_nothing:\n        return self._too_many\n    opened = self._open(",
    ),
    # and what devices do
    one_change(
        "a number is used before it is saved",
        it.NUMBERS_SAVED,
        _SESSION + "_ask",
        "and not self._save(self._mark, self._session)",
        "and self._save(self._mark, self._session) is None",
    ),
    one_change(
        "the base is left out",
        it.NUMBERS_SAVED,
        _SESSION + "_ask",
        'int(self._session[_SERVER:].partition(b"\\0")[2] or 0) * _BLOCK',
        "0",
    ),
    one_change(
        "each request of a session has the same number",
        it.ONE_PLAINTEXT,
        _SESSION + "_ask",
        "self._boot += 1",
        "pass",
    ),
    one_change(
        "the wish to deregister is not saved",
        it.END_IS_SAVED,
        _SESSION + "_ask",
        "self._mark |= method << _ENDS - 2",
        "pass",
    ),
    one_change(
        "a device believes what is not protected by its session's keys",
        it.ONLY_PROTECTED,
        "dpe_device.oscore:Context.unprotect",
        'int.from_bytes(ciphertext[-_SIZE_TAG:], "big") ^ int.from_bytes(tag, "big")',
        "False",
    ),
    one_change(
        "a hint ends an exchange of the session",
        it.FIRST_REPORT,
        _SESSION + "receive",
        "self._refusals |= code == _UNAUTHORIZED",
        'self._refusals |= code == _UNAUTHORIZED; self._request = b""',
    ),
    one_change(
        "a device whose session is unknown does not register anew",
        it.LAST_WORD,
        _SESSION + "receive",
        "self._refusals |= code == _UNAUTHORIZED",
        "pass",
    ),
)
