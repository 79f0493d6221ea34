"""Who is there in a simulation: the boards, the servers that they register with, and the attacker."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from dpe_coap.imei import Imei
from dpe_server.keys.at_rest import AtRest
from dpe_server.keys.ring import KeyRing
from dpe_server.operation.credential import Credential
from dpe_tools.simulation.attacker import Attacker, Insider
from dpe_tools.simulation.board import Board
from dpe_tools.simulation.eavesdroppers import Copier, Replayer
from dpe_tools.simulation.events import Address, DeviceKnown, ServerKnown
from dpe_tools.simulation.host import Host
from dpe_tools.simulation.trouble import AT_SECOND, RULES, Trouble, with_reports
from dpe_tools.simulation.world import WALL, World

REALM = "simulated"
HOME: Address = ("home.example", 5683)
AWAY: Address = ("second.example", 5684)
"""Where boards with the firmware "moved" are redirected."""


class Scene:
    """All who act in ``world``, in ``trouble``. With ``folder``, the servers' databases are files in it."""

    def __init__(self, world: World, trouble: Trouble, keys: KeyRing, folder: Path | None) -> None:
        self.world = world
        self.trouble = trouble
        self.keys = keys
        self._folder = folder
        self._device_id = AtRest(keys.at_rest, world.random_bytes).device_id
        self.storage_was_lost = False
        """Whether a board has had an older handle since, so that no clock may be set back."""
        self.hosts: list[Host] = []
        self.impostors: list[Host] = []
        self.home = self._host(HOME, RULES)
        if trouble.cluster:
            self._host(HOME, RULES, self.home)
        self._moves = False
        self.boards = [
            self._board(f"board {number}", Imei.parse(f"00101700{number:06d}")) for number in range(trouble.boards)
        ]
        if self._moves or world.random.random() < 0.1:
            self._host(AWAY, AT_SECOND)
        self.attacker = Attacker(world, [host.address for host in self.hosts], trouble, self._insider())
        if self.attacker.is_there:
            world.on_sent.append(self.attacker.hear)
        self.replayer = Replayer(world, self.attacker.servers, trouble.recordings, reacts=True)
        world.on_heard.append(self.replayer.hear)
        self.copier = Copier(world, self.attacker.servers, trouble.copies)
        world.on_heard.append(self.copier.hear)

    def host_at(self, address: Address) -> Host:
        """Return the server that devices mean by an address."""
        return next(host for host in self.hosts if host.address == address)

    def close(self) -> None:
        """Close all servers."""
        for host in (*self.hosts, *self.impostors):
            host.close()

    def _host(self, address: Address, rules: str, first: Host | None = None) -> Host:
        path = None if self._folder is None else self._folder / f"{address[0]}.sqlite"
        if self.trouble.reports:
            rules = with_reports(rules)
        host = Host(self.world, address[0], address, self.keys, REALM, rules, self.trouble, path, first)
        self.hosts.append(host)
        self.world.emit(ServerKnown(host.name, address))
        self.world.endpoints[address] = host.receive
        return host

    def _board(self, name: str, imei: Imei) -> Board:
        world, trouble, chance = self.world, self.trouble, self.world.random
        handle = self.keys.seal_handle(1, imei, int(WALL), world.random_bytes)
        credential = asdict(Credential(f"coap://{HOME[0]}", REALM, handle, self._key(imei, handle), 1))
        firmware = chance.choice((None, None, None, "moved 1", "weak 1"))
        options: dict[str, Any] = {"firmware": firmware, "suite": chance.choice((1, 1, 1, 2))}
        if chance.random() < 0.2:
            options["versions"] = ((2, 0), (1, 4))
        weak = chance.random() < 0.1 and not trouble.flash_fails  # counters that cannot be saved begin again
        self._moves |= firmware == "moved 1"
        return Board(world, trouble, name, self._device_id(imei), credential, weak=weak, **options)

    def _insider(self) -> Insider:
        imei = Imei.parse("00101709000000")
        handle = self.keys.seal_handle(1, imei, int(WALL), self.world.random_bytes)
        return Insider(self._device_id(imei), self._key(imei, handle), handle, REALM)

    def _key(self, imei: Imei, handle: bytes) -> bytes:
        """Return a device's key, which the invariants know from now on."""
        key = self.keys.device_key(1, imei)
        assert key is not None
        self.world.emit(DeviceKnown(self._device_id(imei), key, REALM, handle))
        return key


def new_keys(world: World) -> KeyRing:
    """Draw the keys of a cluster."""
    draw = world.random_bytes
    return KeyRing(master={1: draw(32)}, handle={1: draw(32)}, at_rest=draw(32))
