"""Impostors: servers at another server's address. No board may become REGISTERED with one."""

from dataclasses import replace
from functools import partial

from dpe_server.coap.piggyback import refusal
from dpe_server.handling.reply import Reply
from dpe_tools.simulation.events import Address
from dpe_tools.simulation.host import Host
from dpe_tools.simulation.scene import AWAY, HOME, REALM, Scene, new_keys
from dpe_tools.simulation.trouble import CIRCLE, NONE, RULES, WIDE
from dpe_tools.simulation.world import SECOND, Receive, World

KINDS = ("silent", "acknowledging", "unwilling", "another realm", "other keys", "in a circle")
REFUSALS = (0x81, 0x80, 0xA0, 0x44)
"""CoAP codes; the server itself never sends 5.00."""


def impersonate(scene: Scene) -> None:
    """Let another server have a server's address for a while."""
    world, chance = scene.world, scene.world.random
    address = chance.choice(scene.hosts).address
    what = chance.choice(KINDS)
    world.note(f"{address[0]} is now one that is {what}")
    world.endpoints[address] = _impostor(scene, address, what)
    world.after(chance.randint(1, 300) * SECOND, partial(_reinstate, scene, address))


def _reinstate(scene: Scene, address: Address) -> None:
    scene.world.endpoints[address] = scene.host_at(address).receive


def _impostor(scene: Scene, address: Address, what: str) -> Receive:
    if what == "silent":
        return lambda _, __: None
    if what == "acknowledging":
        return partial(_acknowledge, scene.world, address)
    if what == "unwilling":
        return partial(_refuse, scene.world, address)
    keys = new_keys(scene.world) if what == "other keys" else scene.keys
    realm = "other realm" if what == "another realm" else REALM
    rules = CIRCLE % (AWAY if address == HOME else HOME) if what == "in a circle" else RULES + WIDE
    name = f"impostor {len(scene.impostors) + 1}"
    host = Host(scene.world, name, address, keys, realm, rules, replace(NONE, terms=""))
    scene.impostors.append(host)
    return host.receive


def _acknowledge(world: World, address: Address, datagram: bytes, sender: Address) -> None:
    world.send(address, sender, b"\x60\0" + datagram[2:4])


def _refuse(world: World, address: Address, datagram: bytes, sender: Address) -> None:
    code = world.random.choice(REFUSALS)
    max_age = world.random.choice((None, 0xFFFFFFFF))
    answer = refusal(datagram, Reply(code, max_age=max_age))  # type: ignore[arg-type]
    if answer is not None:
        world.send(address, sender, answer)
