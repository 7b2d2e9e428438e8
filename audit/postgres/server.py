"""One Postgres server on a unix socket, shared by all processes that ask for its folder, gone with the last of them.

Two locks, both the kernel's and so dropped with their process: ``*.lock`` serialises starting, ``*.users`` is held
shared by every user. Who stops tries to make its shared lock exclusive, and stops the server if that works; a keeper
process does the same for users that could not (``kill -9``).
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from langgraph_control.audit.postgres.cluster import PORT, SUPERUSER, Cluster
from langgraph_control.audit.postgres.programs import Programs, find_programs
from langgraph_control.errors import LocalServerError

__all__ = ["PostgresServer"]

SOCKET_PATH_MAX: Final = 100  # bytes; the kernel's limit is 104 to 108
WAIT_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.05


@dataclass(slots=True, kw_only=True)
class PostgresServer:
    """A hold on a running server, got by :meth:`start` and given back by :meth:`stop` or as a context manager.

    A hold that nobody gives back lasts as long as its process.
    """

    cluster: Cluster
    _hold: int | None = field(repr=False)  # the number of the locked file
    _process: int = field(default_factory=os.getpid, repr=False)

    @classmethod
    def start(
        cls,
        data: Path,
        *,
        programs_folder: Path | None = None,
        settings: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> Self:
        """Start the server of a data folder, or join the one that runs there.

        Args:
            data: a folder for server and locks, made if missing. The parents' permissions are left as they are.
            programs_folder: Postgres' programs; by default the embedded wheel's, else those on the PATH.
            settings: further lines of ``postgresql.conf``; heeded when the folder is first set up.
            say: told what takes long.

        Raises:
            LocalServerError: it cannot be started; the text says what to do.
        """
        with _naming_folder_errors(data), ExitStack() as undo:
            cluster = _cluster(data, programs_folder)
            lock = undo.enter_context(cluster.lock_file.open("ab"))
            _wait_for(lock.fileno(), fcntl.LOCK_EX, "another process that is starting it")
            hold = os.open(cluster.users_file, os.O_RDWR | os.O_CREAT, 0o600)
            server = cls(cluster=cluster, _hold=hold)
            undone = undo.enter_context(ExitStack())
            undone.callback(server.stop)  # a start that failed or was broken off leaves nothing behind
            _wait_for(hold, fcntl.LOCK_SH, "the server that is being stopped")
            _run(cluster, settings or {}, say)
            undone.pop_all()
        return server

    def dsn(self, login: str = SUPERUSER, database: str = "postgres") -> str:
        """Return the connection string of a login; the socket trusts everyone who can reach it."""
        host = quote(str(self.cluster.socket_folder), safe="")
        return f"postgresql://{quote(login)}@/{quote(database)}?host={host}&port={PORT}"

    def stop(self) -> None:
        """Give the server back. The last one to do so stops it and returns when it is down. Harmless when repeated."""
        hold, self._hold = self._hold, None
        if hold is None or os.getpid() != self._process:  # a forked child shares its parent's hold
            return
        try:
            if _try_lock(hold, fcntl.LOCK_EX):
                self.cluster.stop()
                return
            # Others still use it, or the keeper was faster and is stopping it right now.
            give_up = time.monotonic() + WAIT_SECONDS
            while not _try_lock(hold, fcntl.LOCK_SH) and time.monotonic() < give_up:
                time.sleep(POLL_SECONDS)
        finally:
            os.close(hold)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _run(cluster: Cluster, settings: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Make sure that the server runs: set up, watched over by a keeper, and ready."""
    if not cluster.exists():
        say(f"Setting up Postgres {cluster.programs.version} in {cluster.folder} (once, some seconds) …")
        cluster.create(settings)
    if not cluster.is_running():
        cluster.starting_file.touch()
        _start_keeper(cluster)
        try:
            cluster.start()
        except LocalServerError:
            cluster.starting_file.unlink(missing_ok=True)  # nothing is on its way; the keeper need not wait for it
            raise
        cluster.starting_file.unlink(missing_ok=True)
    cluster.wait_until_ready()


def _cluster(data: Path, programs_folder: Path | None) -> Cluster:
    # Root's server runs as another user, who must be able to enter.
    data.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    data = data.resolve()  # one folder, one name: it is what a running server is recognised by
    programs = find_programs(data, folder=programs_folder)
    if programs.owner is not None:
        _check_reachable(data, programs.owner)
    folder = data / f"pg{programs.major}"
    return Cluster(folder=folder, socket_folder=_socket_folder(folder, programs), programs=programs)


def _check_reachable(data: Path, owner: int) -> None:
    seen = subprocess.run(  # noqa: S603 - fixed arguments; the folder is a word of its own
        ["/bin/sh", "-c", 'cd "$1"', "sh", str(data)],
        check=False,
        capture_output=True,
        cwd="/",
        user=owner,
        extra_groups=[],
    )
    if seen.returncode != 0:
        raise LocalServerError(
            f"Root's server runs as another user, which cannot enter {data}; permissions are not widened for it.",
            todo="Choose a folder that others may enter with LANGGRAPH_CONTROL_DATA.",
            code="local_server_folder",
        )


def _socket_folder(folder: Path, programs: Programs) -> Path:
    """Return the data folder itself, or a private one with a short name where the path is too long for a socket."""
    if len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_MAX:
        return folder
    short = Path(tempfile.gettempdir()) / f"lgc-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    owner = os.geteuid() if programs.owner is None else programs.owner
    short.mkdir(mode=0o700, exist_ok=True)
    if short.lstat().st_uid == os.geteuid() != owner:
        os.chown(short, owner, -1)
    if short.is_symlink() or short.lstat().st_uid != owner or short.lstat().st_mode & 0o077:
        raise LocalServerError(
            f"{short}, where the socket would be, belongs to somebody else.",
            todo="Choose a shorter data folder with LANGGRAPH_CONTROL_DATA.",
            code="local_server_folder",
        )
    return short


def _start_keeper(cluster: Cluster) -> None:
    owner = "" if cluster.programs.owner is None else str(cluster.programs.owner)
    script = Path(__file__).with_name("keeper.py")
    files = (cluster.folder, cluster.users_file, cluster.starting_file)
    subprocess.run(  # noqa: S603 - our own script, no shell
        [sys.executable, "-I", "-S", str(script), cluster.programs.path("pg_ctl"), *map(str, files), owner],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


@contextmanager
def _naming_folder_errors(data: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalServerError(
            f"The data folder {data} cannot be used: {error.strerror or type(error).__name__}.",
            todo="Choose another with LANGGRAPH_CONTROL_DATA.",
            code="local_server_folder",
        ) from error


def _try_lock(file: int, mode: int) -> bool:
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for(file: int, mode: int, whom: str) -> None:
    give_up = time.monotonic() + WAIT_SECONDS
    while not _try_lock(file, mode):
        if time.monotonic() >= give_up:
            raise LocalServerError(
                f"Waited {WAIT_SECONDS:g} s for {whom}.", todo="Look for a hung process.", code="local_server_busy"
            )
        time.sleep(POLL_SECONDS)
