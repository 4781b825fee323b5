"""Where the board's tools are, and whether root may run them.

Only where a system installs them: below /usr/local others than root may write on some systems.
"""

import errno
import os
import stat
from typing import Optional

FOLDERS = "/usr/sbin:/sbin:/usr/bin:/bin:/opt/vc/bin"
PATH = "/usr/sbin:/sbin:/usr/bin:/bin"  # of what the tools themselves start
_MOST_LINKS = 40
_ACL = "system.posix_acl_access"


def program_of(name: str) -> str:
    """The path of a tool.

    Raises FileNotFoundError, and PermissionError where this is root and others could change it.
    """
    for folder in FOLDERS.split(":"):
        path = os.path.join(folder, name)
        if not (os.path.isfile(path) and os.access(path, os.X_OK)):
            continue
        at = changeable(path) if os.geteuid() == 0 else None
        if at is not None:
            why = f"{at} can be changed by others than root, so root does not run it"
            raise PermissionError(errno.EACCES, why)
        return path
    raise FileNotFoundError(errno.ENOENT, f"{name} is not there")


def changeable(path: str) -> Optional[str]:
    """The first part of a full path, links followed, that others than root can change, if any."""
    at, rest, links = "/", path.split("/"), 0
    while True:
        if not _is_roots(at):
            return at
        if os.path.islink(at):
            links += 1
            if links > _MOST_LINKS:
                return at
            link = os.readlink(at)
            rest = link.split("/") + rest
            at = "/" if link.startswith("/") else os.path.dirname(at)
        while rest and rest[0] in ("", ".", ".."):
            at = os.path.dirname(at) if rest.pop(0) == ".." else at
        if not rest:
            return None
        at = os.path.join(at, rest.pop(0))


def _is_roots(path: str) -> bool:
    """Whether only root can change it, or put something in its place."""
    try:
        seen = os.lstat(path)
        if seen.st_uid != 0:
            return False
        if stat.S_ISLNK(seen.st_mode):
            return True
        if stat.S_ISDIR(seen.st_mode) and seen.st_mode & stat.S_ISVTX:
            return True  # what is root's in it, only root can rename or remove
        if seen.st_mode & stat.S_IWOTH:
            return False
        # With a list of its own, the bits of the group are the most that anyone on it may.
        of_group = seen.st_mode & stat.S_IWGRP
        return not of_group or (seen.st_gid == 0 and _ACL not in os.listxattr(path))
    except OSError as error:
        return error.errno == errno.ENOTSUP  # a file system without such lists
