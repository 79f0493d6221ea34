"""Who may read and change a state directory: its owner alone, or the server does not start.

The directory is checked first: if nobody else can write in it, what is found of its files stays true.
"""

import grp
import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

from dpe_coap.errors import LocalError


class PermissionsError(LocalError):
    """The state directory, or something in it, is not its owner's alone."""


def check(directory: Path, files: Iterable[str]) -> None:
    """Check a state directory and those of its ``files`` that exist; PermissionsError says what is wrong.

    All must belong to the user that this process runs as, and be open to nobody else. Files must be regular files, not
    links.
    """
    check_parent(directory)
    _check_owner(directory, directory.stat())
    _check_mode(directory, directory.stat(), 0o700)
    for file in (directory / name for name in files):
        try:
            found = file.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode):
            what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no regular file"
            raise PermissionsError(f"{file} is {what}", hint="put the file itself there")
        _check_owner(file, found)
        _check_mode(file, found, 0o600)


def check_parent(directory: Path) -> None:
    """Check the folder that the directory is in, or is to be in; PermissionsError if others could exchange it.

    Others may write there if they cannot touch what is not theirs, as in /tmp.
    """
    parent = directory.resolve().parent
    found = parent.stat()
    if found.st_mode & stat.S_ISVTX:
        return
    for who, letter, writes in (
        ("every user", "o", found.st_mode & stat.S_IWOTH),
        ("a group of users", "g", found.st_mode & stat.S_IWGRP and not _is_own(found.st_gid)),
    ):
        if writes:
            raise PermissionsError(
                f"{parent}, where the state directory is, can be changed by {who} (mode {found.st_mode & 0o777:04o})",
                hint=f"chmod {letter}-w {parent}",
            )


def _is_own(group: int) -> bool:
    """Say whether a group has no member but this user, as many systems make one for each user."""
    try:
        found, user = grp.getgrgid(group), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return found.gr_name == user and set(found.gr_mem) <= {user}


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        owner = _name(found.st_uid)
        raise PermissionsError(
            f"{path} belongs to the user {owner}, and this runs as {_name(os.geteuid())}",
            hint=f"run it as {owner} (sudo -u {owner} ...), or give all of the directory to one user",
        )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"#{user}"


def _check_mode(path: Path, found: os.stat_result, expected: int) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise PermissionsError(f"{path} is open to other users (mode {mode:04o})", hint=f"chmod {expected:o} {path}")
