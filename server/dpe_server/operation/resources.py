"""What a server answers over CoAP, and what its sockets and its lane must know of that."""

from dpe_coap.binding import PATH
from dpe_server.coap.fairness import Fairness
from dpe_server.coap.lane import Lane, Offer
from dpe_server.net.link import Link
from dpe_server.registration.recognition import KINDS, NAMES


def lane(link: Link, offer: Offer) -> Lane:
    """Return the lane before ``link``: it takes plain registrations, which ``offer`` has decided."""
    return Lane(link, offer, path=PATH, kinds=KINDS)


def scheduler(full: int, source: slice) -> Fairness:
    """Return the scheduler of a socket; see ``dpe_server.net.link.Scheduling``."""
    return Fairness(full, source, names=NAMES)
