"""Keeps the memory of this process, which has all keys in it, from files and from other processes.

Python cannot wipe keys: it copies strings as it likes. So the whole memory is kept in: no core dump, and no debugger or
read of /proc/PID/mem by other processes of the same user.
"""

import resource
import sys

import cffi

PR_SET_DUMPABLE = 4


def keep_private() -> None:
    """Do so for this process and those that it forks. On other systems than Linux only the core dump is prevented."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ffi = cffi.FFI()
        ffi.cdef("int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long);")
        ffi.dlopen(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # cannot fail with these arguments
