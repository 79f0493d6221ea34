"""Lists of sessions for operators: which sessions are wanted, and what a list has of each."""

from typing import NamedTuple

from dpe_coap.messages import Version


class Wanted(NamedTuple):
    """Which sessions an operator asks for: those that fit all that is given."""

    rule: str | None = None
    version: Version | None = None
    firmware: str | None = None
    epoch: int | None = None
    """Begun with a credential of this key epoch."""
    below_epoch: int | None = None
    """Begun with a credential of a lower key epoch than this."""
    unknown_epoch: bool = False
    """Only those of which the key epoch is not known."""
    heard_before: int | None = None
    """Last heard before this second; a device that was not heard yet counts as of when its session began."""


class Listed(NamedTuple):
    """A session in a list. The fields mean what they mean in ``contract.Session``."""

    client_id: int
    device: bytes
    version_major: int
    version_minor: int
    firmware: str | None
    suite: int
    rule: str
    epoch: int | None
    established_at: int
    expires_at: int | None
    seen_at: int | None
    record: bytes

    def __repr__(self) -> str:
        """Show nothing of the device."""
        return f"Listed(rule={self.rule!r})"

    @property
    def version(self) -> Version:
        """The DPE version."""
        return Version(self.version_major, self.version_minor)

    @property
    def heard_at(self) -> int:
        """When the device was last heard, or when its session began."""
        return self.established_at if self.seen_at is None else self.seen_at


ALL = Wanted()


def fits(session: Listed, wanted: Wanted) -> bool:
    """Say whether a session is wanted."""
    epoch = session.epoch
    return (
        wanted.rule in (None, session.rule)
        and wanted.version in (None, session.version)
        and wanted.firmware in (None, session.firmware)
        and wanted.epoch in (None, epoch)
        and (wanted.below_epoch is None or (epoch is not None and epoch < wanted.below_epoch))
        and (epoch is None or not wanted.unknown_epoch)
        and (wanted.heard_before is None or session.heard_at < wanted.heard_before)
    )
