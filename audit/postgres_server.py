"""One Postgres server on a unix socket, shared by all processes that ask for its folder, gone with the last of them.

Two locks, both the kernel's and so dropped with their process: ``*.lock`` serialises starting, ``*.users`` is held
shared by every user. Who stops tries to make its shared lock exclusive, and stops the server if that works; a keeper
process does the same for users that could not (``kill -9``).
"""

import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from langgraph_control.audit.postgres_programs import Programs, find_programs
from langgraph_control.errors import LocalServerError

__all__ = ["PostgresServer"]

SUPERUSER: Final = "postgres"
PORT: Final = 5432  # names the socket file; no port is opened
SOCKET_PATH_MAX: Final = 100  # bytes; the kernel's limit is 104 to 108
WAIT_SECONDS: Final = 120.0
INITDB_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.05
OLD_MEMORY_SECONDS: Final = 15.0  # backends of a server killed hard notice within moments
NO_SUCH_PID: Final = 2**31 - 2

SETTINGS: Final = {
    "listen_addresses": "''",
    "max_connections": "200",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where a server's files are, next to its data folder."""

    cluster: Path

    @property
    def lock(self) -> Path:
        """Held exclusively by who starts."""
        return self.cluster.with_suffix(".lock")

    @property
    def users(self) -> Path:
        """Held shared by who uses the server."""
        return self.cluster.with_suffix(".users")

    @property
    def starting(self) -> Path:
        """Exists while a server is being started."""
        return self.cluster.with_suffix(".starting")

    @property
    def pid(self) -> Path:
        """Postgres' own pid file."""
        return self.cluster / "postmaster.pid"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.cluster / "server.log"


@dataclass(slots=True, kw_only=True)
class PostgresServer:
    """A hold on a running server, got by :meth:`start` and given back by :meth:`stop` or as a context manager."""

    programs: Programs
    files: Files
    socket_folder: Path
    _hold: int | None = field(
        repr=False
    )  # the open file's number: a hold nobody gives back lasts as long as the process
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
        data = data.absolute()
        _make_folder(data)
        data = data.resolve()  # one folder, one name: it is what a server is recognised by
        programs = find_programs(data, folder=programs_folder)
        files = Files(cluster=data / f"pg{programs.major}")
        _check_reachable(data, programs)
        socket_folder = _socket_folder(files.cluster, programs)
        with files.lock.open("ab") as lock, contextlib.ExitStack() as undo:
            _wait_for(lock.fileno(), fcntl.LOCK_EX, "another process that is starting it")
            hold = os.open(files.users, os.O_RDWR | os.O_CREAT, 0o600)
            server = cls(programs=programs, files=files, socket_folder=socket_folder, _hold=hold)
            undo.callback(server.stop)  # a start that failed or was broken off leaves nothing behind
            _wait_for(hold, fcntl.LOCK_SH, "the server that is being stopped")
            if not (files.cluster / "PG_VERSION").exists():
                say(f"Setting up Postgres {programs.version} in {files.cluster} (once, some seconds) …")
                _create_cluster(files, programs, SETTINGS | dict(settings or {}))
            if not _is_running(files):
                _start(files, programs, socket_folder)
            _wait_until_ready(files)
            undo.pop_all()
        return server

    def dsn(self, login: str = SUPERUSER, database: str = "postgres") -> str:
        """Return the connection string of a login; the socket trusts everyone who can reach it."""
        return (
            f"postgresql://{quote(login)}@/{quote(database)}?host={quote(str(self.socket_folder), safe='')}&port={PORT}"
        )

    def stop(self) -> None:
        """Give the server back. The last one to do so stops it and returns when it is down. Harmless when repeated."""
        hold, self._hold = self._hold, None
        if hold is None or os.getpid() != self._process:  # a forked child shares its parent's hold
            return
        try:
            if _try_lock(hold, fcntl.LOCK_EX):
                _stop(self.files, self.programs)
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


def _make_folder(data: Path) -> None:
    try:
        # Root's server runs as another user, who must be able to enter.
        data.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LocalServerError(
            f"The data folder {data} cannot be made: {error.strerror}.",
            todo="Choose another with LANGGRAPH_CONTROL_DATA.",
            code="local_server_folder",
        ) from None


def _check_reachable(data: Path, programs: Programs) -> None:
    if programs.owner is None:
        return
    seen = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        ["/bin/sh", "-c", 'cd "$1"', "sh", str(data)],
        check=False,
        capture_output=True,
        cwd="/",
        user=programs.owner,
        extra_groups=[],
    )
    if seen.returncode != 0:
        raise LocalServerError(
            f"Root's server runs as another user, which cannot enter {data}; permissions are not widened for it.",
            todo="Choose a folder that others may enter with LANGGRAPH_CONTROL_DATA.",
            code="local_server_folder",
        )


def _socket_folder(cluster: Path, programs: Programs) -> Path:
    """Return the data folder itself, or a private one with a short name where the path is too long for a socket."""
    if len(os.fsencode(cluster / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_MAX:
        return cluster
    name = f"lgc-{hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]}"
    folder = Path(tempfile.gettempdir()) / name
    owner = os.geteuid() if programs.owner is None else programs.owner
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid == os.geteuid() != owner:
        os.chown(folder, owner, -1)
    if folder.is_symlink() or folder.lstat().st_uid != owner or folder.lstat().st_mode & 0o077:
        raise LocalServerError(
            f"{folder} belongs to somebody else.",
            todo="Choose a shorter data folder with LANGGRAPH_CONTROL_DATA.",
            code="local_server_folder",
        )
    return folder


def _create_cluster(files: Files, programs: Programs, settings: Mapping[str, str]) -> None:
    """Set the data folder up aside and rename it into place, so that a set-up broken off leaves nothing half done."""
    for left in files.cluster.parent.glob(f"{files.cluster.name}.new-*"):
        shutil.rmtree(left, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{files.cluster.name}.new-", dir=files.cluster.parent))
    if programs.owner is not None:
        os.chown(aside, programs.owner, -1)
    arguments = (
        "-D",
        str(aside),
        "-U",
        SUPERUSER,
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--no-instructions",
    )
    programs.run("initdb", *arguments, within_seconds=INITDB_SECONDS)
    with (aside / "postgresql.conf").open("a", encoding="utf-8") as conf:
        conf.writelines(f"{name} = {value}\n" for name, value in settings.items())
    aside.rename(files.cluster)


def _start(files: Files, programs: Programs, socket_folder: Path) -> None:
    _forget_pid(files, socket_folder)
    files.starting.touch()
    _start_keeper(files, programs)
    options = f"-k {shlex.quote(str(socket_folder))} -p {PORT} -c unix_socket_permissions=0700"
    arguments = ("start", "-D", str(files.cluster), "-w", "-t", "60", "-l", str(files.log), "-o", options)
    give_up = time.monotonic() + OLD_MEMORY_SECONDS
    while True:
        try:
            programs.run("pg_ctl", *arguments, within_seconds=WAIT_SECONDS)
        except LocalServerError as error:
            said = _end_of(files.log)
            if "shared memory block" in said and time.monotonic() < give_up:
                time.sleep(1)
                continue
            raise LocalServerError(
                f"Postgres {programs.version} does not start: {said or error.what}",
                todo=f"Its log is {files.log}.",
                code="local_server_start",
            ) from None
        files.starting.unlink(missing_ok=True)
        return


def _start_keeper(files: Files, programs: Programs) -> None:
    owner = "" if programs.owner is None else str(programs.owner)
    script = Path(__file__).with_name("server_keeper.py")
    paths = [programs.path("pg_ctl"), str(files.cluster), str(files.users), str(files.starting)]
    subprocess.run(  # noqa: S603 - our own script, no shell
        [sys.executable, "-I", "-S", str(script), *paths, owner],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


def _stop(files: Files, programs: Programs) -> None:
    arguments = ("stop", "-D", str(files.cluster), "-w", "-t", "60", "-m")
    for mode in ("fast", "immediate"):
        if not _is_running(files):
            return
        with contextlib.suppress(LocalServerError):
            programs.run("pg_ctl", *arguments, mode, within_seconds=WAIT_SECONDS)


def _is_running(files: Files) -> bool:
    """Whether the process in the pid file is alive and this folder's Postgres: after a reboot it may be anything."""
    pid = _pid(files)
    return pid is not None and str(files.cluster) in _command(pid)


def _pid(files: Files) -> int | None:
    try:
        return int(files.pid.read_text(encoding="utf-8").splitlines()[0])
    except (OSError, ValueError, IndexError):
        return None


def _command(pid: int) -> str:
    """Return a process' command line, or nothing where there is no such process."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ")
        except OSError:
            return ""
    listed = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        ["/bin/ps", "-p", str(pid), "-o", "command="], check=False, capture_output=True, text=True
    )
    return listed.stdout


def _forget_pid(files: Files, socket_folder: Path) -> None:
    """Keep Postgres from refusing to start because its old pid belongs to another program now, or to its own zombie.

    Only the pid is overwritten: the rest of the file lets Postgres check for memory still in use by an old server.
    """
    for name in (f".s.PGSQL.{PORT}.lock", f".s.PGSQL.{PORT}"):
        (socket_folder / name).unlink(missing_ok=True)
    if _pid(files) is None:
        return
    lines = files.pid.read_text(encoding="utf-8").splitlines()
    files.pid.write_text("\n".join([str(NO_SUCH_PID), *lines[1:]]) + "\n", encoding="utf-8")


def _wait_until_ready(files: Files) -> None:
    give_up = time.monotonic() + WAIT_SECONDS
    while True:
        lines = files.pid.read_text(encoding="utf-8").splitlines() if files.pid.exists() else []
        if lines and lines[-1].strip() == "ready":
            return
        if time.monotonic() >= give_up:
            raise LocalServerError("Postgres started but is not ready.", todo=f"Its log is {files.log}.")
        time.sleep(POLL_SECONDS)


def _end_of(log: Path) -> str:
    try:
        return " | ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:])
    except OSError:
        return ""


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
            raise LocalServerError(f"Waited {WAIT_SECONDS:g} s for {whom}.", todo="Look for hung processes of it.")
        time.sleep(POLL_SECONDS)
