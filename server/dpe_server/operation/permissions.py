"""Who may read and change a state directory: its owner alone, or the server does not start.

Some files hold secrets (keys.json, the database): nobody else may read them. The others hold none, and it is enough
that nobody else can change them. An operator may trust groups (``DPE_TRUSTED_GROUPS``) as he trusts the owner, where a
platform sets owners and modes: a Kubernetes volume belongs to root and a group, and that group can write.

The way to the directory is checked first, then the directory: if nobody else can change them, what is found of the
files stays true.
"""

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from dpe_coap.errors import LocalError
from dpe_server.files.pages import page

TRUSTED_GROUPS = "DPE_TRUSTED_GROUPS"
"""The environment variable with the groups that the operator trusts: names or numbers, separated by commas."""
LINKS = 40
"""The most symbolic links on a way, as in Linux."""
_WRITE = stat.S_IWGRP | stat.S_IWOTH


class PermissionsError(LocalError):
    """The state directory, or something in it, is not its owner's alone."""


def check(directory: Path, *, secret: Iterable[str], edited: Iterable[str], written: Iterable[str]) -> None:
    """Check a state directory and those of its files that exist; PermissionsError says what is wrong.

    All must belong to the user that this process runs as. The ``secret`` files are open to nobody else; the others may
    be read, but not changed. All must be regular files. Only the ``edited`` ones, which the server never writes, may
    belong to root, or be links to such files.
    """
    trusted = _trusted_groups()
    check_way(directory)
    found = directory.stat()
    _check_owner(directory, found, root=found.st_gid in trusted)
    _check_mode(directory, found, found.st_gid in trusted, folder=True)
    for names, is_secret, is_edited in ((secret, True, False), (edited, False, True), (written, False, False)):
        for file in (directory / name for name in names):
            try:
                found = file.lstat()
                if is_edited and stat.S_ISLNK(found.st_mode):
                    check_way(file, f"{file}, a symbolic link")
                    found = file.stat()
            except FileNotFoundError:
                if file.is_symlink():
                    raise PermissionsError(f"{file} is a symbolic link to nothing", hint="mend the link") from None
                continue
            if not stat.S_ISREG(found.st_mode):
                what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no regular file"
                raise PermissionsError(f"{file} is {what}", hint="put the file itself there")
            _check_owner(file, found, root=is_edited)
            _check_mode(file, found, found.st_gid in trusted, secret=is_secret)


def check_way(path: Path, what: str = "the state directory") -> None:
    """Check each folder on the way to ``path``; PermissionsError if others could put something else in its place.

    A folder must belong to this user or to root. Others may write there if they cannot touch what is not theirs, as in
    /tmp; ``what`` names what lies at the end. A link to a file may lead through a read-only file system, whoever may
    write to its folders (a ConfigMap).
    """
    for folder, entry in _way(path):
        found = folder.stat()
        if path.is_symlink() and path.is_file() and os.statvfs(folder).f_flag & os.ST_RDONLY:
            continue
        if found.st_uid not in (0, os.geteuid()):
            raise PermissionsError(
                f"{folder}, where {what} is, belongs to the user {_name(found.st_uid)}, who can change it",
                hint=f"chown root {folder}, or choose another folder",
            )
        if found.st_mode & stat.S_ISVTX:
            theirs = entry.lstat().st_uid if os.path.lexists(entry) else os.geteuid()
            if found.st_mode & _WRITE and theirs not in (0, os.geteuid()):
                raise PermissionsError(
                    f"{entry}, where {what} is, belongs to the user {_name(theirs)}, who can change it",
                    hint="choose another folder",
                )
            continue
        for who, letter, writes in (
            ("every user", "o", found.st_mode & stat.S_IWOTH),
            ("a group of users", "g", found.st_mode & stat.S_IWGRP and not _is_own(found.st_gid)),
        ):
            if writes and not (letter == "g" and found.st_gid in _trusted_groups()):
                raise PermissionsError(
                    f"{folder}, where {what} is, can be changed by {who} (mode {found.st_mode & 0o777:04o})",
                    hint=f"chmod {letter}-w {folder}" + (_trust(found.st_gid) if letter == "g" else ""),
                )


def _way(path: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each folder, and the entry in it, by which ``path`` is found. Links are followed."""
    at, links = Path("/"), 0
    todo = list(reversed(path.absolute().parts[1:]))
    while todo:
        part = todo.pop()
        if part == "..":
            at = at.parent
            continue
        entry = at / part
        yield at, entry
        if not entry.is_symlink():
            at = entry
            continue
        links += 1
        if links > LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        target = entry.readlink()
        at = Path("/") if target.is_absolute() else at
        todo += reversed(target.parts[target.is_absolute() :])


def _trusted_groups() -> set[int]:
    found = set()
    for name in filter(None, (part.strip() for part in os.environ.get(TRUSTED_GROUPS, "").split(","))):
        try:
            found.add(int(name) if name.isascii() and name.isdigit() else grp.getgrnam(name).gr_gid)
        except KeyError:
            raise PermissionsError(
                f"{TRUSTED_GROUPS}: there is no group {name!a} here", hint="give its number, as id shows it"
            ) from None
    return found


def _is_own(group: int) -> bool:
    """Say whether a group has no member but this user, as many systems make one for each user."""
    try:
        found, user = grp.getgrgid(group), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return found.gr_name == user and set(found.gr_mem) <= {user}


def _check_owner(path: Path, found: os.stat_result, *, root: bool) -> None:
    """Check that a file is this user's, or root's if ``root``."""
    user = os.geteuid()
    if found.st_uid == user or (root and found.st_uid == 0):
        return
    owner = _name(found.st_uid)
    # sudo takes a number only behind "#", which a shell takes for a comment.
    run = f"sudo -u {owner} ..." if not owner.startswith("#") else f"in a container: runAsUser: {found.st_uid}"
    raise PermissionsError(
        f"{path} belongs to the user {owner}, and this runs as {_name(user)}",
        hint=f"run it as {owner} ({run}), or give all of the directory to one user (chown -R)",
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"#{user}"


def _check_mode(
    path: Path, found: os.stat_result, trusted: bool, *, folder: bool = False, secret: bool = False
) -> None:
    """Check what others may do with a file, or with the state directory itself. ``trusted``: its group is."""
    mode = stat.S_IMODE(found.st_mode)
    wrong = _wrong(mode, trusted, folder=folder, secret=secret)
    if not wrong:
        return
    if secret or (folder and not trusted):
        which, change = "is open to", f"chmod {0o700 if folder else 0o600:o} {path}"
    else:
        which, change = "can be changed by", f"chmod go-w {path}"
    helps = not trusted and not _wrong(mode, True, folder=folder, secret=secret)
    raise PermissionsError(
        f"{path} {which} other users (mode {mode:04o})", hint=change + (_trust(found.st_gid) if helps else "")
    )


def _wrong(mode: int, trusted: bool, *, folder: bool, secret: bool) -> int:
    """Return the bits of a mode that let others do too much."""
    wrong = mode & (0o077 if secret or (folder and not trusted) else _WRITE)
    return wrong & ~stat.S_IRWXG if trusted else wrong


def _trust(group: int) -> str:
    where = page("docs/how-to/containers.md")
    return f"; or trust its group with all secrets of the server: {TRUSTED_GROUPS}={group} ({where})"
