"""The emulated Cortex-M3 board (device/boards/mps2_an385): its power, its reset line and its console."""

import json
import os
import queue
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from dpe_coap.errors import LocalError

PROGRAM = "qemu-system-arm"
HOST = "10.0.2.2"
"""The address at which the board finds this machine's loopback, in QEMU's user network."""
MEMORY_SIZE = 16 * 1024 * 1024
"""Bytes of the board's non-volatile memory, as the machine has it. Its file is sparse."""
SEED_OFFSET = 0x800
"""The offset of the random numbers' seed in that memory (device/boards/mps2_an385/urandom.c)."""
HEAP = 8192
"""Bytes of MicroPython's heap, including its own tables, for which the firmware is made."""
HEAP_X25519 = 10240
"""The same for a registration with X25519."""
HEAP_SESSION = 12288
"""The same for a session: reports, policies, and deregistering."""
MAX_HEAP = 2 * 1024 * 1024
"""The largest heap that the firmware accepts (device/boards/mps2_an385/board.c)."""
HEAP_ADDRESS = 0x20000000
"""The address at which the firmware looks for another size of its heap (device/boards/mps2_an385/board.c)."""
PREFIX = "board: "
SAYS_SECONDS = 30
STOP_SECONDS = 5


class Board:
    """A board with a firmware. When the ``with`` block ends, the board is off and its memory is gone.

    ``says`` is called, in another thread, with every line of the board's console. With ``count_instructions`` the
    board's clock advances by 1 ns with each instruction, however fast this machine is. ``memory`` is the file of its
    non-volatile memory. ``heap`` is the size of MicroPython's heap in bytes, from the next time that the board is
    switched on; if instructions are counted, there is room for the code that measures.
    """

    def __init__(
        self,
        firmware: Path,
        says: Callable[[str], object] = lambda line: None,
        *,
        count_instructions: bool = False,
    ) -> None:
        self.heap = 2 * HEAP if count_instructions else HEAP
        self._firmware = firmware
        self._says = says
        self._clock = ["-icount", "shift=0,sleep=on"] if count_instructions else []
        self._qemu: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Make the board's memory, which is blank except for the seed of its random numbers."""
        self._directory = Path(tempfile.mkdtemp(prefix="dpe-board-"))
        self.memory = self._directory / "memory"
        self.memory.touch(0o600)
        with self.memory.open("r+b") as memory:
            memory.truncate(MEMORY_SIZE)
            memory.seek(SEED_OFFSET)
            memory.write(os.urandom(32))
        return self

    def __exit__(self, *_: object) -> None:
        """Cut the power and remove the memory."""
        self.power_off()
        shutil.rmtree(self._directory)

    def power_on(self) -> None:
        """Start the board. Raises LocalError if there is no emulator."""
        ours, theirs = socket.socketpair()
        command = [
            PROGRAM, "-nodefaults", "-nographic", "-semihosting", "-kernel", str(self._firmware),
            "-machine", "mps2-an385,memory-backend=memory",
            "-object", f"memory-backend-file,id=memory,size={MEMORY_SIZE},mem-path={self.memory},share=on",
            "-nic", "user,model=lan9118",
            "-device", f"loader,addr={HEAP_ADDRESS:#x},data={self.heap},data-len=4",
            "-serial", "stdio",
            "-chardev", f"socket,id=control,fd={theirs.fileno()}", "-qmp", "chardev:control", *self._clock,
        ]  # fmt: skip
        try:
            self._qemu = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                bufsize=1, pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            ours.close()
            raise LocalError(f"{PROGRAM} is not installed", hint="apt-get install qemu-system-arm") from None
        finally:
            theirs.close()
        self._control = ours.makefile("rw", encoding="utf-8", buffering=1)
        ours.close()
        self._last = "none"
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, args=[self._qemu, self._lines], daemon=True)
        self._listener.start()
        self._command("qmp_capabilities")

    def power_off(self) -> None:
        """Cut the power: the processor stops wherever it is."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            self._listener.join()
            self._control.close()
            assert self._qemu.stdin is not None
            assert self._qemu.stdout is not None
            self._qemu.stdin.close()
            self._qemu.stdout.close()
            self._qemu = None

    def reset(self) -> None:
        """Press the reset button."""
        self._command("system_reset")

    def type(self, line: str) -> None:
        """Type a line on the console."""
        assert self._qemu is not None
        assert self._qemu.stdin is not None
        self._qemu.stdin.write(line + "\n")

    def wait_for(self, beginning: str, seconds: float | None = None) -> str:
        """Return the rest of the board's next line with this beginning. Raises LocalError if there is none."""
        seconds = SAYS_SECONDS if seconds is None else seconds
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise LocalError(
                    f"the board did not say {beginning!r} in {seconds} s, its last: {self._last}"
                ) from None
            if line is None:
                raise LocalError(f"the board stopped, its last words: {self._last}")
            if line.startswith(PREFIX + beginning):
                return line.removeprefix(PREFIX + beginning)

    def _listen(self, qemu: "subprocess.Popen[str]", lines: "queue.SimpleQueue[str | None]") -> None:
        assert qemu.stdout is not None
        for line in qemu.stdout:
            self._last = line.rstrip()
            self._says(self._last)
            lines.put(self._last)
        lines.put(None)

    def _command(self, name: str) -> None:
        # QEMU's machine protocol: a greeting, then an answer to each command, with events in between.
        with suppress(OSError):
            self._control.write(json.dumps({"execute": name}) + "\n")
            for line in self._control:
                if "return" in json.loads(line):
                    return
        self._listener.join(STOP_SECONDS)
        raise LocalError(f"the emulator stopped, or refuses {name}; its last words: {self._last}")
