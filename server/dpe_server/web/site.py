"""What every page stands on: the state directory, its store, and how this process was started."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from dpe_server.operation.state_dir import StateDir
from dpe_server.operators.policies import PolicyFile
from dpe_server.web.door import Door
from dpe_server.web.findings import Findings
from dpe_server.web.sampling import Sampler
from dpe_server.web.stores import Stores


@dataclass(frozen=True)
class Site:
    """One ``dpe web``. Shared by all requests, and never changed."""

    state: Path
    realm: str
    door: Door
    stores: Stores
    policy: PolicyFile
    sampler: Sampler
    findings: Findings
    metrics: str | None = None
    """The URL of the server's metrics, if it was given; else it is looked for."""
    capture: Path | None = None
    """What ``dpe serve --pcap`` writes."""
    origins: tuple[str, ...] = ()
    """Under which a proxy is reached, such as ``https://dpe.example``."""
    secure: bool = False
    """Whether all of it is https."""
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when this process is to end: streams end then."""
    streams: set[object] = field(default_factory=set)
    """Those that are open."""

    def opened(self) -> StateDir:
        """Open the state directory as it is now; DpeError."""
        return StateDir.open(self.state)
