"""What the HTTP API takes and tells, for the OpenAPI document. The names are those of the `--json` of commands."""

from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from dpe_coap.numbers import MAX_FIRMWARE
from dpe_server.keys.ring import LAST_GENERATION
from dpe_server.operators.disclosing import LONGEST_REASON

ClientId = Annotated[
    str,
    Path(pattern="^[0-9A-Fa-f]{14}$", description="A Client ID, 14 hex digits.", examples=["a1b2c3d4e5f607"]),
]
Version = Annotated[
    str, Field(pattern=r"^[0-9]{1,3}\.[0-9]{1,3}$", description="A DPE version, major.minor.", examples=["1.0"])
]
Firmware = Annotated[
    str,
    Field(
        min_length=1, max_length=MAX_FIRMWARE, pattern="^[^\\x00]*$", description="A firmware, as a device names it."
    ),
]
Epoch = Annotated[int, Field(ge=1, le=LAST_GENERATION, description="A key epoch.")]
Imei = Annotated[
    str,
    Field(
        pattern=r"^[0-9 /-]{14,24}$",
        description="An IMEI of 14, 15 or 16 digits. It is neither kept nor told again.",
    ),
]
Reason = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_REASON,
        pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$",
        description="Why, on one line. It is kept in the audit log: put no IMEI into it.",
    ),
]


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Taken(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


# What is told


class Bytes(_Told):
    """A value of bytes, which JSON has not."""

    bytes: str = Field(pattern="^([0-9a-f]{2})*$", description="In hex.")


class Reported(_Told):
    """What a device has reported of a property."""

    value: bool | int | float | str | Bytes
    time: int = Field(description="When, in Unix seconds.")


Properties = dict[str, Reported]


class Session(_Told):
    """A session. Times are Unix seconds. Nothing of it identifies the device."""

    client_id: str = Field(pattern="^[0-9a-f]{14}$")
    version: str
    state: str = Field(pattern="^(ESTABLISHED|EXPIRED)$", description="EXPIRED: it is over, and is erased in a moment.")
    suite: int = Field(description="1: plain, 2: X25519.")
    epoch: int | None = Field(description="The key epoch that it began with; null: an earlier version began it.")
    firmware: str | None
    rule: str = Field(description="The rule of the policy that accepted the device.")
    established_at: int
    expires_at: int | None = Field(description="null: it does not end by itself.")
    seen_at: int | None = Field(description="When the device was last heard; null: not yet.")
    age: int | None = Field(description="Seconds; null: it began later than it is now, by this server's clock.")


class ListedSession(Session):
    """A session in a list."""

    reported: int = Field(description="How many properties the device has reported.")
    properties: Properties | None = Field(default=None, description="Only with properties=true.")


class Sessions(_Told):
    """A part of a list."""

    sessions: list[ListedSession]
    next: str | None = Field(
        description="Where to go on, as `cursor`; null: that was all. There may be more even if this part is empty."
    )


class Ended(_Told):
    """What has become of sessions."""

    sessions_ended: int


Conditions = dict[str, dict[str, bool | int | float]]


class Device(_Told):
    """What there is of a device, without its IMEI."""

    revoked: bool
    minimum_epoch: int = Field(description="Its credentials of a lower key epoch are refused; 0: none is.")
    session: Session | None
    properties: Properties
    override: bool = Field(description="Whether it reports by policies of its own, which an operator has set.")
    policies: Conditions | None = Field(
        description="What it is told to report, and when, by property and condition; null: the policy has a fault."
    )
    reporting: list[str] = Field(description="The same in words.")
    why: str = Field(description="Why these policies are in force.")


class ShownImei(_Told):
    """The IMEI of a device."""

    imei: str


class Rule(_Told):
    """A rule of the policy."""

    line: int = Field(description="Where it stands in the file.")
    name: str
    for_: str = Field(alias="for", description="What it asks.")
    answer: str


class Rules(_Told):
    """The policy of this server. The first rule that matches decides; if none does, the device is refused."""

    rules: list[Rule]
    allow_clear_imei: bool


class Step(_Told):
    """A rule that was tried."""

    rule: str
    line: int | None = Field(description="null: it is what holds if no rule matches.")
    matched: bool
    why: str
    reporting: list[str] = Field(description="What the device is then told to report.")


class Explained(_Told):
    """What the policy says to a device."""

    before: str = Field(description="What is answered to devices before the policy is asked; usually empty.")
    steps: list[Step] = Field(description="The last one decides.")


class Overridden(_Told):
    """What a device is told to report."""

    policies: Conditions
    dry_run: bool


class Cleared(_Told):
    """What has become of a device's own policies."""

    cleared: bool = Field(description="false: it had none.")
    rule: str
    dry_run: bool


class Revoked(_Told):
    """What has become of a device."""

    devices: int
    never_seen: int = Field(description="1: this server knows nothing of the device.")
    dry_run: bool
    sessions_ended: int | None = None
    below_epoch: int | None = None


class Lifted(_Told):
    """What was lifted."""

    devices: int
    lifted: int
    below_epoch: bool
    dry_run: bool


class AuditLine(BaseModel):
    """A line of the audit log. What else it has depends on the event."""

    model_config = ConfigDict(extra="allow")

    time: str
    event: str


class Audit(_Told):
    """A part of the audit log, the newest line first."""

    lines: list[AuditLine]
    next: str | None = Field(
        description="Where to go on, as `cursor`; null: that was all. There may be more even if this part is empty."
    )


class Health(_Told):
    """Whether this process can answer."""

    status: str = Field(pattern="^ok$")


class Change(_Told):
    """All that one device has reported as it is now, or that its session has ended; or where all begins or ends."""

    snapshot: str | None = Field(
        default=None,
        pattern="^(begin|end)$",
        description="begin: all that there is comes next, and what was told before is void. end: that was all.",
    )
    client_id: str | None = Field(default=None, pattern="^[0-9a-f]{14}$")
    at: int | None = Field(default=None, description="When, in Unix seconds.")
    properties: Properties | None = None
    ended: bool | None = Field(default=None, description="true: the session has ended, and what it had is erased.")
    cursor: str | None = Field(default=None, description="Where to go on after this one.")


class ChangesPart(_Told):
    """Some changes."""

    changes: list[Change]
    cursor: str = Field(description="Where to go on, as `since`.")
    more: bool = Field(description="Whether there is more by now.")


# What is taken


class DryRun(_Taken):
    """Whether to do it."""

    dry_run: bool = Field(default=False, description="Say what would be done, and do nothing.")


class Because(_Taken):
    """Why an IMEI is shown."""

    reason: Reason


class Sought(Because):
    """A device that is looked for."""

    imei: Imei


class Override(DryRun):
    """What a device is to report by."""

    report: dict[str, Any] = Field(
        description="As [report] of a rule: properties and their conditions. Empty: it reports nothing unasked.",
        examples=[{"battery": {"pmin": 60}, "firmware": {}}],
    )
    reason: Reason | None = None


class Named(DryRun):
    """A device, by its Client ID or its IMEI."""

    client_id: str | None = Field(
        default=None, pattern="^[0-9A-Fa-f]{14}$", description="For a device with a session; instead of imei."
    )
    imei: Imei | None = None
    reason: Reason | None = None


class Revocation(Named):
    """A device that is to be refused."""

    below_epoch: Epoch | None = Field(default=None, description="Refuse only credentials of a lower key epoch.")


class Lift(Named):
    """A device that may register again."""

    below_epoch: bool = Field(default=False, description="Lift its minimum epoch, and leave a revocation alone.")
