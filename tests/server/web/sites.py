"""A site as tests have it: on a state directory, without a process."""

from typing import Any

from dpe_server.operation.state_dir import StateDir
from dpe_server.operators.policies import PolicyFile
from dpe_server.web.door import Door, Role
from dpe_server.web.findings import Findings
from dpe_server.web.sampling import Sampler
from dpe_server.web.site import Site
from dpe_server.web.stores import Stores


def site_of(opened: StateDir, role: Role = Role.OPERATOR, **fields: Any) -> Site:
    """Return a site, whose page lets everybody in as ``role``. Its stores are to be closed."""
    return Site(
        state=opened.path,
        realm=opened.config.realm,
        door=Door(role),
        stores=Stores(opened.path),
        policy=PolicyFile(opened.policy_path),
        sampler=Sampler(opened.path, opened.audit_path, None),
        findings=Findings(opened.path),
        **fields,
    )
