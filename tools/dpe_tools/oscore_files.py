"""The OSCORE context of a device's session in the files of other CoAP clients (RFC 8613 section 3.2)."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Context:
    """What a client needs to speak as the device: AES-CCM-16-64-128 with HKDF SHA-256, no ID Context."""

    client_id: bytes
    """The Sender ID, 7 bytes. The server's is empty."""
    master_secret: bytes = field(repr=False)
    """16 bytes."""
    master_salt: bytes = field(repr=False)
    """8 bytes."""


def _aiocoap(context: Context) -> str:
    """Return a settings.json for the folder that a credentials file of aiocoap names as ``basedir``."""
    settings = {
        "algorithm": "AES-CCM-16-64-128",
        "kdf-hashfun": "sha256",
        "sender-id_hex": context.client_id.hex(),
        "recipient-id_hex": "",
        "secret_hex": context.master_secret.hex(),
        "salt_hex": context.master_salt.hex(),
    }
    return json.dumps(settings, indent=2) + "\n"


def _libcoap(context: Context) -> str:
    """Return a configuration for `coap-client -E` (coap-oscore-conf(5)), which wants the empty ID said."""
    return (
        f'master_secret,hex,"{context.master_secret.hex()}"\n'
        f'master_salt,hex,"{context.master_salt.hex()}"\n'
        f'sender_id,hex,"{context.client_id.hex()}"\n'
        'recipient_id,hex,""\n'
        'aead_alg,text,"AES-CCM-16-64-128"\n'
        'hkdf_alg,text,"direct+HKDF-SHA-256"\n'
    )


def wireshark(context: Context) -> str:
    """Return the line of a profile's ``oscore_contexts``: Wireshark asks for the sender's and the recipient's IDs."""
    secrets = f'"{context.master_secret.hex()}","{context.master_salt.hex()}"'
    return f'"{context.client_id.hex()}","",{secrets},"","AES-CCM-16-64-128 (CCM*)"\n'


FORMATS: dict[str, Callable[[Context], str]] = {"aiocoap": _aiocoap, "libcoap": _libcoap, "wireshark": wireshark}
"""By the client whose file it is."""
