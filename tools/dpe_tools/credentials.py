"""A device's credential, read from the file that the user names."""

from dataclasses import asdict
from typing import Any

from dpe_coap.errors import LocalError
from dpe_server.operation.credential import Credential
from dpe_tools import files


def load(path: str) -> Credential:
    """Read a credential file, JSON or CBOR. Raises LocalError, which names the file and what is wrong with it."""
    try:
        return Credential.read(files.read(path))
    except LocalError as error:
        hint = error.hint or "make one with: dpe provision STATE IMEI --out DIR"
        message = str(error)
        raise LocalError(message if path in message else f"{path}: {message}", hint=hint) from None


def for_device(known: Credential) -> Any:
    """Return the credential as the device client takes it: a dict, because the device has no type for it."""
    return asdict(known)
