"""What must hold whatever happens, checked after each step of either side; one module for each subject.

The truth is what the boards have sent (``made``), what is durable (``durable``) and which of a device's handles is the
freshest (``freshness``). What a server believes, answers or stores is compared with it by ``origin`` (who has made it),
``messages`` (tokens and nonces), ``transactions`` (RESPONSE, and what is forgotten), ``replies`` (CONFIRM), ``order``
(which registration is newer) and ``sessions`` (rows, and REGISTERED); ``liveness`` counts attempts; ``client`` and
``message_layer`` need no more than the events. An invariant only listens, and notes with ``World.fail`` what does not
hold.

Of sessions, the truth is what devices have asked for and commits have accepted (``asked``). ``numbers`` looks at what
devices send, ``reports`` at what servers hold, ``answers`` at what they answer, and ``exchanges`` counts under siege.
"""

from dpe_server.keys.at_rest import AtRest
from dpe_tools.simulation.invariants.answers import Answers
from dpe_tools.simulation.invariants.asked import Requests
from dpe_tools.simulation.invariants.client import Client
from dpe_tools.simulation.invariants.durable import Durable
from dpe_tools.simulation.invariants.exchanges import Exchanges
from dpe_tools.simulation.invariants.freshness import Freshness
from dpe_tools.simulation.invariants.liveness import Attempts, Liveness
from dpe_tools.simulation.invariants.made import Messages
from dpe_tools.simulation.invariants.message_layer import MessageLayer
from dpe_tools.simulation.invariants.messages import TokensAndNonces
from dpe_tools.simulation.invariants.numbers import Numbers
from dpe_tools.simulation.invariants.order import Order
from dpe_tools.simulation.invariants.origin import Origin
from dpe_tools.simulation.invariants.replies import Replies
from dpe_tools.simulation.invariants.reports import Reports
from dpe_tools.simulation.invariants.sessions import Sessions
from dpe_tools.simulation.invariants.shares import Shares
from dpe_tools.simulation.invariants.transactions import Transactions
from dpe_tools.simulation.world import World


def watch(world: World, at_rest: AtRest) -> None:
    """Have all invariants listen to a world. ``at_rest`` opens the keys in the rows."""
    messages, durable = Messages(world), Durable(world)  # first, so that the others see the truth after an event
    freshness = Freshness(world, messages)
    Origin(world, messages, durable)
    TokensAndNonces(world, messages)
    Transactions(world, messages, durable, freshness)
    Shares(world, messages, freshness)
    Replies(world, messages, durable)
    Order(world, messages, durable)
    requests = Requests(world, durable)
    Numbers(world, requests)
    Reports(world, durable, requests)
    Answers(world, durable, requests)
    Sessions(world, messages, durable, requests, at_rest)
    Client(world, messages)
    MessageLayer(world)
    Liveness(world)
    Attempts(world, messages, durable, freshness)
    Exchanges(world, durable, requests)
