"""Where an embedded Postgres lives, who it runs as, and the locks that keep its users apart.

    HOME/lock           flock: one process at a time starts, joins, leaves or stops
    HOME/users          flock, shared: everybody who uses the server; the kernel forgets those who die
    HOME/watched        the same once more, for the watcher to wait on without being in a leaving user's way
    HOME/server         flock, inherited by the server: held exactly as long as any process of it lives
    HOME/by-hand        exists: started by hand, stays up until stopped by hand
    HOME/port           the port of the last start, taken again where it is still free
    HOME/cluster/       password (0600), data/, log/; made elsewhere and renamed, so it is whole or absent
    HOME/postgres-18.4/ copied binaries, only where root's own are out of the server's reach
    HOME/elsewhere      a link to the folder that holds all this instead, see `settle`

No process id is ever believed: a lock cannot be stale.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from archiver.errors import DatabaseUnavailable

STATE = Path("/var/lib/archiver")
"""Root's databases whose home an unprivileged server cannot reach; it outlives a reboot, as /tmp would not."""

_log = logging.getLogger(__name__)


class User(NamedTuple):
    """The unprivileged user that a server started by root runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Place:
    """The folder of one embedded server; `user` is None where the server runs as whoever calls."""

    folder: Path
    user: User | None

    @property
    def cluster(self) -> Path:
        return self.folder / "cluster"

    @property
    def data(self) -> Path:
        return self.cluster / "data"

    @property
    def log(self) -> Path:
        return self.cluster / "log"

    @property
    def by_hand(self) -> Path:
        """An empty file, there while the server is to outlive its users (`db start`)."""
        return self.folder / "by-hand"

    @property
    def port(self) -> Path:
        """A file with the port on which the server ran last."""
        return self.folder / "port"

    def identity(self) -> dict[str, Any]:
        """What `subprocess` needs to run something as the server's user."""
        if self.user is None:
            return {}
        return {"user": self.user.uid, "group": self.user.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Hand a file or folder over to the server's user."""
        if self.user is not None:
            os.chown(path, *self.user)

    def reaches(self, path: Path) -> bool:
        """Whether the server's user may enter `path` and every folder above it."""
        return self.user is None or _reaches(self.user, path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait for the home's lock and hold it."""
        fd = self.open("lock")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            release(fd)

    def join(self) -> tuple[int, int]:
        """Be counted as a user until the returned file descriptors, of `users` and `watched`, are released."""
        seats = self.open("users"), self.open("watched")
        for seat in seats:
            fcntl.flock(seat, fcntl.LOCK_SH)
        return seats

    def used(self) -> bool:
        """Whether any living process is counted as a user. Ask under the lock."""
        return self._held("users")

    def alive(self) -> bool:
        """Whether any process of a server that was started here still lives. Ask under the lock."""
        return self._held("server")

    def _held(self, name: str) -> bool:
        fd = self.open(name)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return True
        release(fd)
        return False

    def open(self, name: str) -> int:
        """Open a lock file. Only `settle` makes them: a watcher must not write into a home that is being removed."""
        return os.open(self.folder / name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


def release(fd: int) -> None:
    """Unlock, then close: a child forked a moment ago may hold a copy, and must not keep the lock alive."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def settle(home: Path) -> Place:
    """The place for `home`, the same at every call, made if it is not there.

    Postgres refuses to run as root. Root's server therefore runs as the owner of the data that is there, else as
    `postgres`, else as `nobody`. Where that user cannot reach `home` (it is below /root, say), everything goes to a
    folder of its own in /var/lib/archiver, and `home` keeps a link to it.
    """
    home.mkdir(parents=True, exist_ok=True)
    home = home.resolve()
    link = home / "elsewhere"
    if link.is_symlink():
        if not link.is_dir():
            raise DatabaseUnavailable(
                f"the embedded database of {home} was kept in {link.readlink()}, which is gone: "
                f"bring it back, or remove {link} to begin with an empty one"
            )
        home = link.resolve()
    place = Place(home, None)
    if os.geteuid() == 0:
        user = _server_user(home / "cluster")
        if (home / "cluster").exists() or _reaches(user, home.parent):
            _open_door(user, home)
            place = Place(home, user)
        else:
            place = Place(_move_out(home, link), user)
    _make_locks(place.folder)
    return place


def folder(home: Path) -> Path:
    """Where `settle` has put the server's files: `home`, or what its link leads to."""
    link = home / "elsewhere"
    return link.resolve() if link.is_symlink() else home


def _make_locks(folder: Path) -> None:
    """They belong to the folder's owner, also where root comes first."""
    owner = folder.stat()
    for name in ("lock", "users", "watched", "server"):
        fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.geteuid() == 0:
                os.chown(fd, owner.st_uid, owner.st_gid)
        finally:
            os.close(fd)


def _move_out(home: Path, link: Path) -> Path:
    name = f"{home.name}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}"
    folder = STATE / name
    for made in (STATE, folder):
        made.mkdir(mode=0o711, parents=True, exist_ok=True)
        made.chmod(0o711)
    try:
        link.symlink_to(folder)
        _log.warning("%s is closed to the user that the embedded Postgres runs as; it lives in %s", home, folder)
    except FileExistsError:  # another process of ours was faster; it chose the same name
        pass
    return folder


def _server_user(cluster: Path) -> User:
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return User(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return User(entry.pw_uid, entry.pw_gid)
    return User(65534, 65534)


def _open_door(user: User, home: Path) -> None:
    """Let the server's user pass through the home; it can read nothing there but what is given to it."""
    if not _reaches(user, home):
        home.chmod(stat.S_IMODE(home.stat().st_mode) | 0o011)


def _reaches(user: User, path: Path) -> bool:
    path = path.resolve()
    return all(_enters(user, folder) for folder in (path, *path.parents))


def _enters(user: User, folder: Path) -> bool:
    status = folder.stat()
    if status.st_uid == user.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == user.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
