"""`dpe message`: a device's messages as bytes, for any CoAP client to send."""

import os
import sys

import click

from dpe_coap.errors import LocalError
from dpe_coap.keys import RequestStep
from dpe_coap.messages import Request, Response, Version
from dpe_coap.numbers import MAX_FIRMWARE, SIZE_POLICY_ETAG, SIZE_X25519_KEY, Status
from dpe_coap.oscore import MAX_NUMBER
from dpe_coap.session_messages import encode_report
from dpe_device import messages as device
from dpe_device import x25519
from dpe_server.policy.vocabulary import Vocabulary
from dpe_tools import credentials, files, properties, protected, refusals, terminal
from dpe_tools.verify import Chain, TokenCheck, decode_as, session_of

NONCE_SIZE = 16


def output_options(command: click.decorators.FC) -> click.decorators.FC:
    """Add the options that say where to write the bytes."""
    command = click.option("--hex", "as_hex", is_flag=True, help="Write hex to standard output.")(command)
    return click.option("--out", metavar="FILE", help="Write the bytes to FILE (mode 0600).")(command)


def write(payload: bytes, out: str | None, as_hex: bool) -> None:
    """Write a message where the user wants it. A terminal gets no raw bytes."""
    if out is not None:
        files.write_private(out, payload)
    elif as_hex:
        click.echo(payload.hex())
    elif terminal.is_terminal():
        raise click.UsageError("the message is binary and would garble the terminal; use --out FILE, --hex, or a pipe")
    else:
        sys.stdout.buffer.write(payload)
        sys.stdout.buffer.flush()


def parse_version(_context: click.Context, _parameter: click.Parameter, value: str) -> Version:
    """Read the option --version. Raises BadParameter if it is not major.minor."""
    try:
        return Version.parse(value)
    except LocalError as error:
        raise click.BadParameter(f"{error}; {error.hint}") from None


def parse_firmware(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Read the option --firmware. Raises BadParameter if a REQUEST cannot hold it."""
    try:
        if value is None or 1 <= len(value.encode()) <= MAX_FIRMWARE:
            return value
    except UnicodeEncodeError:
        raise click.BadParameter("the name of the firmware is not UTF-8") from None
    raise click.BadParameter(f"the name of the firmware has 1 to {MAX_FIRMWARE} bytes, not {len(value.encode())}")


@click.group()
def message() -> None:
    """Write a REQUEST, a SUCCESS or a protected report for another CoAP client to send.

    \b
    A whole registration with libcoap's client:
      dpe message request CREDENTIAL --out request
      coap-client -m post -t 60 -f request -o response coap://HOST/dpe/register
      dpe message success CREDENTIAL --request request --response response --out success
      coap-client -m post -t 60 -f success -o confirm coap://HOST/dpe/register
      dpe inspect confirm --credential CREDENTIAL --request request --response response --success success

    \b
    A report in the session that has begun, as a whole datagram:
      dpe message report CREDENTIAL battery=86 --number 1 \\
        --request request --response response --success success --out report
    """


@message.command()
@click.argument("credential")
@click.option(
    "--version",
    default="1.0",
    show_default=True,
    callback=parse_version,
    metavar="V",
    help="The DPE version to ask for.",
)
@click.option(
    "--firmware",
    callback=parse_firmware,
    metavar="TEXT",
    help="The name of the firmware, 1 to 32 bytes, sent in clear.",
)
@click.option("--x25519", "use_x25519", is_flag=True, help="Use the X25519 suite.")
@click.option("--ephemeral", metavar="FILE", help="Where to keep the X25519 private key for `dpe message success`.")
@output_options
def request(
    credential: str,
    version: Version,
    firmware: str | None,
    use_x25519: bool,
    ephemeral: str | None,
    out: str | None,
    as_hex: bool,
) -> None:
    """Write a REQUEST of the device that holds CREDENTIAL.

    Every REQUEST has a fresh nonce.
    """
    if use_x25519 != (ephemeral is not None):
        raise click.UsageError("--x25519 and --ephemeral FILE go together: the private key is needed for SUCCESS")
    known = credentials.load(credential)
    public = None
    if ephemeral is not None:
        private = os.urandom(SIZE_X25519_KEY)
        public = x25519.public(private)
    payload = device.make_request(
        known.device_key, known.realm, known.handle, version, os.urandom(NONCE_SIZE), public, firmware
    )
    write(payload, out, as_hex)
    if ephemeral is not None:
        files.write_private(ephemeral, private)


def _registration(command: click.decorators.FC) -> click.decorators.FC:
    """Add the options that name the messages of a registration so far."""
    for option in (
        click.option("--ephemeral", metavar="FILE", help="The X25519 private key that belongs to the REQUEST."),
        click.option("--response", "response_file", required=True, metavar="FILE", help="The RESPONSE that came back."),
        click.option("--request", "request_file", required=True, metavar="FILE", help="The REQUEST that was sent."),
    ):
        command = option(command)
    return command


@message.command()
@click.argument("credential")
@_registration
@click.option("--decline", is_flag=True, help="Decline the Client ID instead of confirming it.")
@output_options
def success(
    credential: str,
    request_file: str,
    response_file: str,
    ephemeral: str | None,
    decline: bool,
    out: str | None,
    as_hex: bool,
) -> None:
    """Verify the RESPONSE and write the SUCCESS that answers it."""
    known = credentials.load(credential)
    sent = files.unhex(files.read(request_file))
    received = files.unhex(files.read(response_file))
    request = decode_as(Request, sent, request_file)
    if not received:
        raise LocalError(f"{response_file} is empty: the server answered without a message", hint=refusals.EMPTY)
    response = decode_as(Response, received, response_file)
    private = b""
    if request.x25519_key is not None:
        if ephemeral is None:
            raise click.UsageError("the REQUEST is of the X25519 suite: give the --ephemeral FILE it was made with")
        private = files.read_ephemeral(ephemeral)
    try:
        _, prk3, _ = device.open_response(
            known.device_key,
            sent,
            received,
            x25519,
            private,
        )
    except ValueError:
        raise LocalError(
            "the RESPONSE's security token is not valid: it does not answer this REQUEST, or not to this device",
            hint="each REQUEST has its own RESPONSE; make both anew",
        ) from None
    if response.client_id is None:
        highest = f" (the highest is {response.version})" if response.status == Status.VERSION_NOT_SUPPORTED else ""
        raise refusals.refused(response.status, highest)
    status = Status.DECLINED if decline else Status.OK
    write(device.make_success(prk3, response.client_id, status), out, as_hex)


def parse_etag(_context: click.Context, _parameter: click.Parameter, value: str | None) -> bytes | None:
    """Read the option --etag. Raises BadParameter if it is no policy etag."""
    if value is None:
        return None
    etag = files.unhex(value.encode())
    if len(etag) != SIZE_POLICY_ETAG or not value.isalnum():
        raise click.BadParameter(f"a policy etag is {2 * SIZE_POLICY_ETAG} hex digits")
    return etag


@message.command()
@click.argument("credential")
@click.argument("words", metavar="[NAME=VALUE]...", nargs=-1)
@_registration
@click.option("--success", "success_file", required=True, metavar="FILE", help="The SUCCESS that was sent.")
@click.option(
    "--number",
    type=click.IntRange(1, MAX_NUMBER - 1),
    required=True,
    metavar="N",
    help="The number of this request in its session, above the last one. Never use a number twice.",
)
@click.option(
    "--etag", callback=parse_etag, metavar="HEX", help="The policy etag of what the device was told, if it has one."
)
@output_options
def report(
    credential: str,
    words: tuple[str, ...],
    request_file: str,
    response_file: str,
    success_file: str,
    ephemeral: str | None,
    number: int,
    etag: bytes | None,
    out: str | None,
    as_hex: bool,
) -> None:
    """Write a protected report of the device that holds CREDENTIAL, as a whole CoAP datagram.

    The keys are those of the session that began with the messages given. NAME=VALUE is as in `dpe session report`;
    without any, the report is a refresh. Two reports under one number show what both say, and the server takes one.
    """
    payload = encode_report(properties.read(words, Vocabulary()) or None, etag)
    known = credentials.load(credential)
    private = None if ephemeral is None else files.read_ephemeral(ephemeral)
    request, response, success = (files.unhex(files.read(name)) for name in (request_file, response_file, success_file))
    chain = Chain(request, response, success, private)
    context = session_of(RequestStep.of(known.device_key, known.realm), chain)
    if isinstance(context, TokenCheck):
        raise LocalError(
            f"the session's keys cannot be derived: {context.why}",
            hint="give the credential and the three messages of one registration",
        )
    write(protected.report(context, number, payload), out, as_hex)
