"""Nothing fails inside the server, and in the end every device registers."""

from dpe_tools.simulation.events import DefectSeen, PatienceOver
from dpe_tools.simulation.invariants.names import LAST_WORD, NO_DEFECT
from dpe_tools.simulation.world import World


class Liveness:
    """Looks at what the server logs, and at the end of a run."""

    def __init__(self, world: World) -> None:
        world.on(DefectSeen, lambda event: world.fail(NO_DEFECT, event.what))
        world.on(PatienceOver, lambda event: world.fail(LAST_WORD, str(dict(event.states))))
