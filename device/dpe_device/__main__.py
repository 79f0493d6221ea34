"""Register a device from the command line: `python -m dpe_device CREDENTIAL`, or the same with `micropython -m`."""

import sys
from binascii import hexlify

from . import x25519
from .registration import IDLE, REFUSED, REGISTERED
from .store import FileStore, load_credential
from .udp import register

_USAGE = """usage: dpe_device CREDENTIAL [--state FILE] [--x25519] [--version 1.0]... [--deadline SECONDS]

Registers the device with its DPE Server and prints the Client ID it was given.

  CREDENTIAL          the file that provisioning made, CBOR or JSON
  --state FILE        where the device keeps its state, there and in FILE.2 (default: CREDENTIAL.state)
  --x25519            use X25519 from the start, not only when the server asks for it
  --version 1.0       a DPE version the device speaks, the preferred one first (default: 1.0)
  --deadline SECONDS  when to give up (default: 120)

Exit status 0: registered. 1: failed, or a file is at fault. 2: wrong usage. 3: no answer. 4: refused by the server."""

_REFUSALS = {
    None: "the device has counted as many attempts as it can; it must be provisioned again, with another key",
    1: "it does not support this DPE version; try another --version",
    2: "its policy does not want this device",
    5: "the device must be provisioned again",
    6: "it redirects to a server that redirects again",
}


def main(arguments: "list[str]") -> int:
    """Run the command; return its exit status.

    0: registered. 1: failed, or a file is at fault. 2: wrong usage. 3: no answer. 4: refused by the server.
    """
    if "--help" in arguments or "-h" in arguments:
        print(_USAGE)
        return 0
    try:
        path, state, suite, versions, deadline = _parse(arguments)
    except ValueError as error:
        print("dpe_device: error: %s\n%s" % (error, _USAGE), file=sys.stderr)
        return 2
    try:
        registration = register(
            load_credential(path),
            FileStore(state),
            versions=versions,
            x25519=x25519,
            suite=suite,
            deadline_ms=deadline * 1000,
        )
    except (OSError, ValueError) as error:
        print("dpe_device: error: %s: %s" % (path, error), file=sys.stderr)
        return 1
    if registration.state == REGISTERED:
        print("registered: Client ID %s" % str(hexlify(registration.client_id or b""), "ascii"))
        return 0
    status = 1
    if registration.state == REFUSED:
        reason = _REFUSALS.get(registration.status, "status %s" % registration.status)
        if registration.status is not None:
            status = 4
            reason = "refused by %s: %s" % (registration.server, reason)
    elif registration.state == IDLE:
        reason = "not registered: the device declined what %s offered, or could not save it" % registration.server
    else:
        status = 3
        reason = "no registration with %s in %d s" % (registration.server, deadline)
    print("dpe_device: error: " + reason, file=sys.stderr)
    return status


def _parse(arguments: "list[str]") -> "tuple[str, str, int, tuple[tuple[int, int], ...], int]":
    path = state = ""
    suite, deadline = 1, 120
    versions = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--x25519":
            suite = 2
        elif word in ("--state", "--version", "--deadline"):
            if not rest:
                raise ValueError("%s needs a value" % word)
            value = rest.pop(0)
            if word == "--state":
                state = value
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
    return path, state or path + ".state", suite, tuple(versions) or ((1, 0),), deadline


sys.exit(main(sys.argv[1:]))
