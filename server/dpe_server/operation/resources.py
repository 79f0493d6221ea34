"""The resources of the server, and what its sockets and its lane must know of them."""

from dpe_coap.binding import CONTENT_FORMAT_CBOR, INTERFACE, MAX_PAYLOAD, PATH, RESOURCE_TYPE, SESSION_PATH
from dpe_server.coap.discovery import Attributes
from dpe_server.coap.fairness import Fairness
from dpe_server.coap.lane import Entrance, Lane, Take
from dpe_server.coap.options import uri_path
from dpe_server.coap.posts import Decide, PostResource, Uploads
from dpe_server.coap.protected import ProtectedRequests, Unprotected
from dpe_server.coap.router import Router
from dpe_server.coap.subjects import Crowds
from dpe_server.net.link import Link
from dpe_server.registration.recognition import KINDS, SUBJECTS

ATTRIBUTES: Attributes = {"rt": RESOURCE_TYPE, "if": INTERFACE, "ct": CONTENT_FORMAT_CBOR}
"""The link attributes of the register resource."""


def router(register: Decide, talk: Decide | None = None) -> Router:
    """Return the server's resources, one line each.

    ``register`` has a registration's message decided, ``talk`` a protected request of a session; None: no sessions.
    """
    resources, uploads = Router(None if talk is None else ProtectedRequests(talk)), Uploads()
    resources.add(PATH, PostResource(register, uploads), ATTRIBUTES)
    resources.add(SESSION_PATH, Unprotected())
    return resources


def lane(link: Link, register: Take, talk: Take | None = None) -> Lane:
    """Return the lane before ``link`` with its entrances, one line each. The other parameters are as for ``router``."""
    return Lane(link, [Entrance(uri_path(PATH), CONTENT_FORMAT_CBOR, MAX_PAYLOAD, KINDS, register)], talk)


def scheduler(crowds: Crowds, full: int, source: slice) -> Fairness:
    """Return the scheduler of a socket; see ``dpe_server.net.link.Scheduling``. A server has one ``crowds``."""
    return Fairness(full, source, subjects=SUBJECTS, crowds=crowds)
