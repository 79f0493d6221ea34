"""Starts a program confined as a systemd unit would be, without systemd.

``unshare UNSHARE python confine.py PLAN PROGRAM [ARGUMENT ...]``, where UNSHARE and the ``Plan`` (JSON) are below. It
stands in for these settings: ProtectSystem=strict with the state directory writable; User and PrivateUsers;
CapabilityBoundingSet= and NoNewPrivileges; SystemCallFilter, RestrictAddressFamilies and MemoryDenyWriteExecute, by
libseccomp as systemd does it; LimitCORE=0.
"""

import ctypes
import errno
import json
import os
import resource
import socket
import subprocess
import sys
from typing import TypedDict

USER = 65_534
"""The user and group "nobody", which the program has in its user namespace. Outside, it is whoever started it."""
UNSHARE = ("--user", f"--map-user={USER}", f"--map-group={USER}", "--keep-caps", "--mount", "--propagation", "private")

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
ACT_ALLOW, ACT_ERRNO_EPERM = 0x7FFF0000, 0x00050000 | errno.EPERM
CMP_EQ, CMP_MASKED_EQ = 4, 7
PROT_WRITE, PROT_EXEC = 2, 4


class Plan(TypedDict):
    """What the program may still do."""

    writable: str
    """The only folder that it can write to."""
    system_calls: list[str]
    """The only system calls that it may make."""
    families: list[str]
    """The address families of sockets that it may open, with their names in ``socket``."""


class _Comparison(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno() or -result, f"{what}: {os.strerror(ctypes.get_errno() or -result)}")


def make_read_only(writable: str) -> None:
    """Mount everything again, read-only except for one folder."""
    subprocess.run(["mount", "--bind", writable, writable], check=True)
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:  # noqa: PTH123
        fields = [line.split() for line in mounts]
    for _, _, _, _, point, options, *_ in fields:
        if point != writable:
            subprocess.run(["mount", "-o", f"remount,bind,ro,{options.removeprefix('rw,')}", point], check=False)


def drop_privileges() -> None:
    """Have no capability from the next program on, and no way to get one."""
    for capability in range(64):
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 and ctypes.get_errno() == errno.EINVAL:
            break
    _check(_libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "ambient capabilities")
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def filter_system_calls(names: list[str], families: list[str]) -> None:
    """Let all other system calls fail with EPERM, and these if they would make code or other sockets."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ACT_ERRNO_EPERM))
    number = {name: library.seccomp_syscall_resolve_name(name.encode()) for name in names}
    conditions = {
        "socket": [_Comparison(0, CMP_EQ, getattr(socket, family)) for family in families],
        "mmap": [_Comparison(2, CMP_MASKED_EQ, PROT_WRITE | PROT_EXEC, kind) for kind in (0, PROT_WRITE, PROT_EXEC)],
        "mprotect": [_Comparison(2, CMP_MASKED_EQ, PROT_EXEC, 0)],
        "pkey_mprotect": [_Comparison(2, CMP_MASKED_EQ, PROT_EXEC, 0)],
    }
    for name in names:
        if number[name] < 0:
            continue  # a call of another architecture
        if name not in conditions:
            _check(library.seccomp_rule_add(context, ACT_ALLOW, number[name], 0), name)
        for condition in conditions.get(name, []):
            _check(library.seccomp_rule_add_array(context, ACT_ALLOW, number[name], 1, ctypes.byref(condition)), name)
    _check(library.seccomp_load(context), "seccomp")


def main() -> None:
    """Become the program."""
    plan: Plan = json.loads(sys.argv[1])
    make_read_only(plan["writable"])
    os.chdir("/")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    drop_privileges()
    filter_system_calls(plan["system_calls"], plan["families"])
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
