"""What keeps the server's memory from files and from other processes."""

import subprocess
import sys

import pytest

SHOW = """
import resource
import cffi
from dpe_server.operation import process_memory

ffi = cffi.FFI()
ffi.cdef("int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long);")

def shown():
    return resource.getrlimit(resource.RLIMIT_CORE), ffi.dlopen(None).prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE

resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
print(shown()[1])
for _ in range(2):
    process_memory.keep_private()
print(*shown())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_no_core_dump_and_nothing_for_other_processes() -> None:
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1", "(0, 0) 0"]
