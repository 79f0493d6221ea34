"""Faults to plant in the product, to see that the simulation notices: what is changed, and what should catch it."""

from dpe_tools.simulation.cluster_mutants import OF_CLUSTERS
from dpe_tools.simulation.invariants import names as it
from dpe_tools.simulation.mutant import Change, Mutant, one_change
from dpe_tools.simulation.session_mutants import OF_SESSIONS

_REGISTRAR = "dpe_server.registration.registrar:Registrar."
_TRANSACTIONS = "dpe_server.registration.transaction_table:Transactions."
_BATCHER = "dpe_server.handling.batching:Batcher."
_DECIDE = "dpe_server.store.commit_rules:decide"
_CLIENT = "dpe_device.registration:Registration."
_ENDPOINT = "dpe_device.coap:Endpoint."

_OF_REGISTRATIONS = (
    Mutant(
        "the status of SUCCESS is outside the MAC, on both sides",
        (it.TOKENS,),
        (
            Change(
                "dpe_coap.keys:_Step._mac",
                "payload[:-SIZE_MAC]",
                "(payload[:13] + payload[14:-SIZE_MAC] if payload[2] == 3 else payload[:-SIZE_MAC])",
            ),
            Change(
                "dpe_device.messages:sign",
                'b"", data)',
                'b"", data[:13] + data[14:] if data[2] == 3 else data)',
            ),
        ),
    ),
    Mutant(
        "CONFIRM is not bound to TH3, on both sides",
        (it.TOKENS,),
        (
            Change("dpe_coap.keys:ConfirmStep._mac", "self.th3 + payload", "payload"),
            Change("dpe_device.messages:open_confirm", ", confirm, th3)", ", confirm)"),
        ),
    ),
    one_change(
        "the server does not compare MACs",
        it.KEY_NEEDED,
        "dpe_coap.keys:_Step.verify",
        "return compare_digest(",
        "return True or compare_digest(",
    ),
    one_change(
        "the client does not compare MACs",
        it.REGISTERED_IS_DURABLE,
        "dpe_device.messages:verify",
        "if int.from_bytes(",
        "if False and int.from_bytes(",
    ),
    one_change(
        "CONFIRM leaves before the commit",
        it.AFTER_COMMIT,
        _BATCHER + "_commit",
        "committing.add_done_callback(self._committed)",
        "self._end_commit([Outcome.COMMITTED] * len(changes))",
    ),
    one_change(
        "a failed commit is answered as if it had succeeded",
        it.AFTER_COMMIT,
        _BATCHER + "_committed",
        "if error is None else None)",
        "if error is None else [Outcome.COMMITTED] * sum(len(one.part.batch.changes) for one in self._committing))",
    ),
    one_change(
        "the server uses one nonce for ever",
        it.NONCES_DIFFER,
        _REGISTRAR + "_respond",
        "nonce = self._random(SIZE_NONCE)",
        "nonce = bytes(SIZE_NONCE)",
    ),
    one_change(
        "the client's boot counter stands still, and its entropy is bad",
        it.NONCES_DIFFER,
        _CLIENT + "_ask",
        "self._boot += 1",
        "pass",
    ),
    one_change(
        "the client's boot counter is not saved, and its entropy is bad",
        it.NONCES_DIFFER,
        _CLIENT + "_save",
        "record = end.to_bytes",
        "record = (end - 1).to_bytes",
    ),
    one_change(
        "the store does not look which registration is newer",
        it.NEWER_WINS,
        _DECIDE,
        "if mine and mine.ordinal >= session.ordinal:",
        "if False:",
    ),
    one_change(
        "ordinals start again after a restart",
        it.NEWER_WINS,
        "dpe_server.registration.ordinals:Ordinals.after",
        "max(last + 1, int(wall * 1e6))",
        "0",
    ),
    one_change(
        "the transactions of a device are not bounded",
        it.BOUNDED,
        _TRANSACTIONS + "add",
        "- PER_DEVICE",
        "- (1 << 30)",
    ),
    one_change(
        "the transactions of all devices are not bounded",
        it.BOUNDED,
        _TRANSACTIONS + "add",
        "while self._count > self._total and",
        "while False and",
    ),
    Mutant(
        "the transaction that came first makes room, not the one with the oldest handle",
        (it.FIRST_ATTEMPT, it.PUSHED_OUT, it.SAME_REPLY),
        (Change(_TRANSACTIONS + "add", "sorted(idle, key=self._freshness)", "idle"),),
    ),
    Mutant(
        "how fresh a handle is is ignored",
        (it.FIRST_ATTEMPT, it.PUSHED_OUT, it.SAME_REPLY, it.OWN_SHARE),
        (Change(_REGISTRAR + "_respond", "fresh = freshness(p.issued, wall)", "fresh = 0"),),
    ),
    one_change(
        "what a device causes after proof is not limited",
        it.LIMITED,
        _REGISTRAR + "_respond",
        "if refusal is not None:",
        "if False:",
    ),
    one_change(
        "replays use up a device's own share",
        it.OWN_SHARE,
        "dpe_server.registration.allowances:Allowances.refuse",
        "if freshness > freshest or (freshness == freshest and fresh < RETRIES):",
        "if False:",
    ),
    one_change(
        "a device that asks again with its freshest handle has no share of its own",
        it.OWN_SHARE,
        "dpe_server.registration.allowances:Allowances.refuse",
        "(freshness == freshest and fresh < RETRIES)",
        "False",
    ),
    one_change(
        "a hint ends the exchange",
        it.FIRST_ATTEMPT,
        _CLIENT + "step",
        "self._fail(now, min(options.get(_OPTION_MAX_AGE, 0), _HOUR))",
        'self._fail(now, min(options.get(_OPTION_MAX_AGE, 0), _HOUR)); self._request = b""',
    ),
    one_change(
        "a decline is taken for an ok",
        it.KEY_NEEDED,
        _REGISTRAR + "_take",
        "if message.status != Status.OK:",
        "if False:",
    ),
    one_change(
        "a Client ID is drawn without a look at the store",
        it.CLIENT_IDS_DIFFER,
        "dpe_server.registration.id_manager:Drawing._of_window",
        "n not in in_use and ",
        "",
    ),
    one_change(
        "a Client ID is drawn without a look at what is offered",
        it.CLIENT_IDS_DIFFER,
        _TRANSACTIONS + "is_reserved",
        "return any(",
        "return False and any(",
    ),
    one_change(
        "the store does not look who has the Client ID",
        it.CLIENT_IDS_DIFFER,
        _DECIDE,
        "if holder and holder.device != session.device:",
        "if False:",
    ),
    one_change(
        "the client sends SUCCESS before it has saved the session",
        it.PERSISTED,
        _CLIENT + "_believe",
        "if status == _STATUS_OK and not self._save(_UNCONFIRMED, session):",
        'if status == _STATUS_OK and setattr(self, "_session", session):',
    ),
    one_change(
        "the client takes an answer from any sender",
        it.HEEDED,
        _CLIENT + "step",
        " and sender == self.peer",
        "",
    ),
    one_change(
        "the client takes an acknowledgement with any message ID",
        it.HEEDED,
        _ENDPOINT + "receive",
        " and (ours or kind[0] != _ACK)",
        "",
    ),
    one_change(
        "the client takes an answer with any CoAP token",
        it.HEEDED,
        _ENDPOINT + "receive",
        " and datagram[4:8] == self._request[4:8]",
        "",
    ),
    one_change(
        "the client retransmits under a new message ID",
        it.RETRANSMISSION,
        _ENDPOINT + "transmit",
        "self._wait *= 2",
        'self._wait *= 2; self._request = self._request[:2] + (now & 0xFFFF).to_bytes(2, "big") + self._request[4:]',
    ),
    one_change(
        "the client repeats SUCCESS for ever",
        it.LAST_WORD,
        _CLIENT + "_fail",
        "self._tries -= 1",
        "pass",
    ),
    one_change(
        "a resent REQUEST is not recognised",
        it.SAME_REPLY,
        _REGISTRAR + "read",
        "known = self._transactions.of_request(th1)",
        "known = None",
    ),
    one_change(
        "a resent SUCCESS is looked up in memory only",
        it.SAME_REPLY,
        _REGISTRAR + "_look_for_sessions",
        "same = compare_digest(",
        "same = False and compare_digest(",
    ),
    one_change(
        "the message layer does not remember duplicates",
        it.DUPLICATES,
        "dpe_server.coap.duplicates:Duplicates.begin",
        "if known is not None and known.startswith(fingerprint):",
        "if False:",
    ),
    Mutant(
        "a transaction is still answered when its life is over",
        (it.LIFE_ENDS,),
        (
            Change(_TRANSACTIONS + "of_request", " if found.ends > self._now else None", ""),
            Change(_TRANSACTIONS + "expire", "range(REMOVED_AT_ONCE)", "range(0)"),
        ),
    ),
    one_change(
        "a REQUEST is answered without a look at the revocation list",
        it.REVOKED,
        "dpe_server.registration.admission:Admission._verdict",
        "restriction.revoked | (not p.proved)",
        "(not p.proved)",
    ),
    one_change(
        "a session is stored without a look at the revocation list",
        it.REVOKED,
        _DECIDE,
        "if session.device in revoked:",
        "if False:",
    ),
)

MUTANTS = (*_OF_REGISTRATIONS, *OF_SESSIONS, *OF_CLUSTERS)
