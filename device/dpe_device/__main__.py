"""Register, report and deregister from the command line: `python -m dpe_device CREDENTIAL`, or `micropython -m`."""

import json
import sys
from binascii import hexlify

from . import x25519
from .device import Device
from .registration import IDLE, REFUSED, REGISTERED
from .session import READY
from .store import FileStore, load_credential
from .udp import deregister, register, report

try:
    import cryptolib

    def aes(key: bytes) -> "Any":
        """Return AES-128 by the firmware."""
        return cryptolib.aes(key, 1)

except ImportError:
    from .aes import AES as aes  # noqa: N811

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import Any, Property, Value

_USAGE = """usage: dpe_device CREDENTIAL [--report PROPERTY=VALUE]... [--deregister] [--state FILE] [--x25519]
       [--version 1.0]... [--deadline SECONDS]

Registers the device with its DPE Server, anew if it is registered, and prints the Client ID it was given. With --report
or --deregister it goes on with the session that it has; to report, it registers if it has none.

  CREDENTIAL          the file that provisioning made, CBOR or JSON
  --report 0=87       report a property: its number, or its name if it has none, and the value: JSON, or text without
                      quotes; null says that there is no such property any more
  --deregister        end the session, after the reports
  --state FILE        where the device keeps its state, there and in FILE.2 (default: CREDENTIAL.state)
  --x25519            use X25519 from the start, not only when the server asks for it
  --version 1.0       a DPE version the device speaks, the preferred one first (default: 1.0)
  --deadline SECONDS  when to give up (default: 120)

Exit status 0: done. 1: failed, or a file is at fault. 2: wrong usage. 3: no answer. 4: refused by the server."""

_REFUSALS = {
    None: "the device has counted as many attempts as it can; it must be provisioned again, with another key",
    1: "it does not support this DPE version; try another --version",
    2: "its policy does not want this device",
    5: "the device must be provisioned again",
    6: "it redirects to a server that redirects again",
}


class _Failed(Exception):
    # With the exit status and what to say.
    pass


def main(arguments: "list[str]") -> int:
    """Run the command; return its exit status.

    0: done. 1: failed, or a file is at fault. 2: wrong usage. 3: no answer. 4: refused by the server.
    """
    if "--help" in arguments or "-h" in arguments:
        print(_USAGE)
        return 0
    try:
        path, state, values, ending, settings, deadline = _parse(arguments)
    except ValueError as error:
        print("dpe_device: error: %s\n%s" % (error, _USAGE), file=sys.stderr)
        return 2
    status = 1
    try:
        credential = load_credential(path)
        storage = FileStore(state)
        if values or ending:
            device = Device(credential, storage, aes, **settings)
            if values:
                _report(device, values, deadline)
            if ending:
                _deregister(device, deadline)
            return 0
        registration = register(credential, storage, deadline_ms=deadline * 1000, **settings)
        if registration.state == REGISTERED:
            print("registered: Client ID %s" % _hex(registration.client_id))
            return 0
        status, reason = _why(registration, deadline)
    except _Failed as failed:
        status, reason = failed.args
    except (OSError, ValueError) as error:
        reason = "%s: %s" % (path, error)
    print("dpe_device: error: " + reason, file=sys.stderr)
    return status


def _hex(client_id: "bytes | None") -> str:
    return str(hexlify(client_id or b""), "ascii")


def _why(registration: "Any", deadline: int) -> "tuple[int, str]":
    # Why a device is not registered, and the exit status.
    if registration.state == REFUSED:
        reason = _REFUSALS.get(registration.status, "status %s" % registration.status)
        if registration.status is None:
            return 1, reason
        return 4, "refused by %s: %s" % (registration.server, reason)
    if registration.state == IDLE:
        return 1, "not registered: the device has declined what %s offered, could not save it, or was deregistering" % (
            registration.server
        )
    return 3, "no registration with %s in %d s" % (registration.server, deadline)


def _report(device: Device, values: "dict[Property, Value]", deadline: int) -> None:
    dropped = report(device, values, deadline_ms=deadline * 1000)
    registration = device.registration
    for name in dropped:
        if name is None:
            print("dpe_device: the server's answer could not be taken", file=sys.stderr)
        elif dropped[name]:
            code = dropped[name]
            raise _Failed(4, "%s refuses property %s: %d.%02d" % (registration.server, name, code >> 5, code & 31))
        else:
            raise _Failed(1, "property %s has no value that can be reported" % name)
    if registration.state == REFUSED or registration.client_id is None:
        raise _Failed(*_why(registration, deadline))
    if registration.state != READY:
        raise _Failed(3, "no answer of %s in %d s" % (registration.server, deadline))
    print("reported: Client ID %s" % _hex(registration.client_id))


def _deregister(device: Device, deadline: int) -> None:
    if device.registration.client_id is None:
        raise _Failed(1, "the device is not registered")
    if not deregister(device, deadline_ms=deadline * 1000):
        raise _Failed(3, "%s has not confirmed that the session is over" % device.registration.server)
    print("deregistered")


def _parse(arguments: "list[str]") -> "tuple[str, str, dict[Property, Value], bool, dict[str, Any], int]":
    path = state = ""
    suite, deadline = 1, 120
    versions = []
    values: "dict[Property, Value]" = {}
    ending = False
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--x25519":
            suite = 2
        elif word == "--deregister":
            ending = True
        elif word in ("--report", "--state", "--version", "--deadline"):
            if not rest:
                raise ValueError("%s needs a value" % word)
            value = rest.pop(0)
            if word == "--state":
                state = value
            elif word == "--report":
                name, equals, text = value.partition("=")
                if not equals or not name:
                    raise ValueError("--report takes PROPERTY=VALUE, as 0=87, not %s" % value)
                values[int(name) if name.isdigit() else name] = _value(text)
            elif word == "--deadline":
                if not value.isdigit():
                    raise ValueError("--deadline takes a number of seconds, not %s" % value)
                deadline = int(value)
            else:
                parts = value.split(".")
                if len(parts) != 2 or not (parts[0].isdigit() and parts[1].isdigit()) or max(map(int, parts)) > 255:
                    raise ValueError("--version takes two numbers of at most 255, as 1.0, not %s" % value)
                versions.append((int(parts[0]), int(parts[1])))
        elif word.startswith("-"):
            raise ValueError("no such option: %s" % word)
        elif path:
            raise ValueError("one CREDENTIAL at a time")
        else:
            path = word
    if not path:
        raise ValueError("CREDENTIAL is missing")
    settings = {"versions": tuple(versions) or ((1, 0),), "x25519": x25519, "suite": suite}
    return path, state or path + ".state", values, ending, settings, deadline


def _value(text: str) -> "Value":
    try:
        value: "Any" = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, (list, dict)):
        raise ValueError("a property has one value, not %s" % text)
    scalar: "Value" = value
    return scalar


sys.exit(main(sys.argv[1:]))
