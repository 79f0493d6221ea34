"""The protocol core: the files that decide who is registered, each with the tests that must notice any fault in it.

The core has no sockets, files or clocks. The tests run in one process, in seconds. The tests of a file are listed with
the most sensitive ones first.
"""

import sys
from collections.abc import Sequence

_MESSAGES = (
    "tests/core/test_vectors.py",
    "tests/core/test_faults.py",
    "tests/core/test_messages.py",
    "tests/core/test_shape.py",
)
_REGISTRAR = (
    "tests/server/registration/test_registration.py",
    "tests/server/registration/test_audit_records.py",
    "tests/server/registration/test_refusals.py",
    "tests/server/registration/test_client_ids.py",
    "tests/server/registration/test_limits.py",
    "tests/server/registration/test_recordings.py",
    "tests/server/registration/test_allowances.py",
    "tests/server/registration/test_overload.py",
    "tests/server/registration/test_store_failure.py",
    "tests/server/registration/test_one_database.py",
    "tests/server/registration/test_draining.py",
    "tests/server/registration/test_ordinals.py",
    "tests/server/registration/test_unknown.py",
    "tests/server/handling/test_handlers.py",
)
_SESSIONS = (
    "tests/server/session/test_sessions.py",
    "tests/server/session/test_details.py",
    "tests/server/session/test_unknown.py",
)
_TRANSACTIONS = ("tests/server/registration/test_transactions.py", *_REGISTRAR)
_DEVICE = (
    "tests/device/test_details.py",
    "tests/device/test_registration.py",
    "tests/device/test_answers.py",
    "tests/device/test_hints.py",
    "tests/device/test_reboot.py",
    "tests/device/test_hostile.py",
)

TESTS: dict[str, tuple[str, ...]] = {
    "dpe_coap/binding.py": ("tests/core/test_binding.py",),
    "dpe_coap/cbor.py": _MESSAGES,
    "dpe_coap/client_ids.py": ("tests/core/test_client_ids.py",),
    "dpe_coap/errors.py": ("tests/core/test_errors.py",),
    "dpe_coap/imei.py": ("tests/core/test_imei.py",),
    "dpe_coap/keys.py": ("tests/core/test_vectors.py", "tests/core/test_keys.py"),
    "dpe_coap/messages.py": _MESSAGES,
    "dpe_coap/oscore.py": ("tests/core/test_oscore.py", "tests/server/session/test_contexts.py"),
    "dpe_coap/session_messages.py": ("tests/core/test_session_faults.py", "tests/core/test_session_messages.py"),
    "dpe_coap/usual_reports.py": ("tests/core/test_session_messages.py",),
    "device/dpe_device/coap.py": ("tests/device/test_coap.py", *_DEVICE),
    "device/dpe_device/messages.py": (
        "tests/device/test_vectors.py",
        "tests/device/test_cbor.py",
        "tests/device/test_keys.py",
        *_DEVICE,
    ),
    "device/dpe_device/registration.py": ("tests/device/test_coap.py", *_DEVICE, "tests/device/test_session.py"),
    "device/dpe_device/x25519.py": ("tests/device/test_x25519.py",),
    "server/dpe_server/handling/handler.py": (
        "tests/server/handling/test_handlers.py",
        "tests/server/handling/test_looking.py",
        "tests/server/registration/test_registration.py",
        "tests/server/registration/test_store_failure.py",
    ),
    "server/dpe_server/registration/admission.py": _REGISTRAR,
    "server/dpe_server/registration/allowances.py": (
        "tests/server/registration/test_allowances.py",
        "tests/server/registration/test_recordings.py",
    ),
    "server/dpe_server/registration/audit_records.py": _REGISTRAR,
    "server/dpe_server/registration/authentication.py": _REGISTRAR,
    "server/dpe_server/registration/answers.py": _REGISTRAR,
    "server/dpe_server/registration/batch.py": _REGISTRAR,
    "server/dpe_server/registration/draining.py": ("tests/server/registration/test_draining.py",),
    "server/dpe_server/registration/containers.py": (
        "tests/server/registration/test_containers.py",
        "tests/server/registration/test_draining.py",
        "tests/server/registration/test_transactions.py",
    ),
    "server/dpe_server/registration/id_manager.py": ("tests/server/registration/test_id_manager.py",),
    "server/dpe_server/registration/ordinals.py": ("tests/server/registration/test_ordinals.py",),
    "server/dpe_server/registration/recognition.py": ("tests/server/registration/test_recognition.py",),
    "server/dpe_server/registration/registrar.py": _REGISTRAR,
    "server/dpe_server/registration/transaction_table.py": _TRANSACTIONS,
    "server/dpe_server/registration/transactions.py": _TRANSACTIONS,
    "server/dpe_server/session/answers.py": ("tests/server/session/test_answers.py", *_SESSIONS),
    "server/dpe_server/session/contexts.py": ("tests/server/session/test_contexts.py", *_SESSIONS),
    "server/dpe_server/session/requests.py": ("tests/server/session/test_requests.py", *_SESSIONS),
    "server/dpe_server/session/room.py": ("tests/server/session/test_room.py",),
    "server/dpe_server/session/sessions.py": (*_SESSIONS, "tests/server/session/test_refused_alike.py"),
    "server/dpe_server/session/shares.py": ("tests/server/session/test_shares.py", *_SESSIONS),
    "server/dpe_server/session/telling.py": _SESSIONS,
    "server/dpe_server/store/commit_rules.py": (
        "tests/server/store/test_commit_rules.py",
        "tests/server/store/contract/test_commit.py",
        "tests/server/store/contract/test_measures.py",
        "tests/server/store/contract/test_beats.py",
        "tests/server/store/contract/test_contacts.py",
    ),
    "server/dpe_server/store/record.py": (
        "tests/server/store/test_record.py",
        "tests/server/store/contract/test_contacts.py",
    ),
}


def are_core(files: Sequence[str]) -> bool:
    """Return whether all of these are files of the core. Say on stderr which one is not."""
    for file in files:
        if file not in TESTS:
            print(f"not a file of the protocol core: {file}\nhint: they are {', '.join(TESTS)}", file=sys.stderr)
            return False
    return True
