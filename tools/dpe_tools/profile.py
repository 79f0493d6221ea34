"""What `dpe device show` says of a device to a person."""

from rich.cells import cell_len

from dpe_coap.client_ids import client_id_text
from dpe_coap.imei import Imei, luhn
from dpe_server.operators.profile import Profile
from dpe_server.operators.properties import decoded, shown
from dpe_server.operators.sessions import SUITES, state_of
from dpe_server.operators.times import ago, moment
from dpe_server.policy.reporting import described
from dpe_tools import diagnostic


def in_words(profile: Profile, imei: Imei) -> list[str]:
    """Return the profile of the device with this IMEI, in lines."""
    lines = [("IMEI", digits(imei))]
    if profile.restriction.revoked:
        lines.append(("revoked", "yes: it cannot register"))
    if profile.restriction.minimum_epoch:
        lines.append(("minimum epoch", str(profile.restriction.minimum_epoch)))
    session, now = profile.session, profile.now
    if session is None:
        lines.append(("session", "none"))
    else:
        lines += [
            ("Client ID", client_id_text(session.client_id)),
            ("state", state_of(session, now)),
            ("DPE version", str(session.version)),
            ("suite", SUITES[session.suite]),
            ("firmware", "not told" if session.firmware is None else diagnostic.text(session.firmware)),
            ("policy rule", session.rule),
            ("established", moment(session.established_at)),
            ("ends", "never" if session.expires_at is None else moment(session.expires_at)),
            ("last contact", "none yet" if session.seen_at is None else ago(session.seen_at, now)),
            ("reported", "" if profile.reported else "nothing yet"),
        ]
    told = [f"{name:<14} {value}".rstrip() for name, value in lines]
    told += _reported(profile)
    if profile.policies is not None:
        whose = "by policies of its own" if profile.override else "by its rule"
        told.append(f"{'to report':<14} {whose if profile.policies else 'nothing unasked, ' + whose}")
        told += [f"  {line}" for line in described(profile.policies, profile.vocabulary)]
    return told


def _reported(profile: Profile) -> list[str]:
    found = [
        (
            profile.vocabulary.name_of(wire := decoded(entry.property)),
            shown(wire, decoded(entry.value), profile.vocabulary),
            ago(entry.at, profile.now),
        )
        for entry in profile.reported
    ]
    widths = [max((cell_len(row[column]) for row in found), default=0) for column in range(2)]
    return [f"  {_padded(name, max(12, widths[0]))} {_padded(value, widths[1])}  {when}" for name, value, when in found]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def digits(imei: Imei) -> str:
    """Return an IMEI as people write it: 15 digits."""
    return f"{imei.digits}{luhn(imei.digits)}"
