"""One folder of Postgres data: set up, started and stopped by its own programs, whatever state a crash left it in."""

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from langgraph_control.audit.postgres.programs import Programs
from langgraph_control.errors import LocalServerError

__all__ = ["PORT", "SUPERUSER", "Cluster"]

SUPERUSER: Final = "postgres"
PORT: Final = 5432  # names the socket file; no port is opened
PROGRAM_SECONDS: Final = 120.0
READY_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.05
OLD_MEMORY_SECONDS: Final = 15.0  # within which the backends of a server that was killed notice and go
OLD_MEMORY_POLL_SECONDS: Final = 0.5
NO_SUCH_PID: Final = 2**31 - 2
LOG_LINES_TOLD: Final = 3

SETTINGS: Final = {
    "listen_addresses": "''",
    "max_connections": "200",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A data folder with its socket and the files beside it. Who calls its methods holds the locks."""

    folder: Path
    socket_folder: Path
    programs: Programs

    @property
    def lock_file(self) -> Path:
        """Locked exclusively by who starts."""
        return self.folder.with_suffix(".lock")

    @property
    def users_file(self) -> Path:
        """Locked shared by who uses the server."""
        return self.folder.with_suffix(".users")

    @property
    def starting_file(self) -> Path:
        """There while a server is being started."""
        return self.folder.with_suffix(".starting")

    @property
    def pid_file(self) -> Path:
        """Postgres' own note of its process."""
        return self.folder / "postmaster.pid"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.folder / "server.log"

    def exists(self) -> bool:
        """Whether the folder has been set up."""
        return (self.folder / "PG_VERSION").exists()

    def create(self, settings: Mapping[str, str]) -> None:
        """Set the folder up aside and rename it into place, so that a set-up broken off leaves nothing half done.

        Args:
            settings: further lines of ``postgresql.conf``.

        Raises:
            LocalServerError: ``initdb`` failed.
        """
        for left in self.folder.parent.glob(f"{self.folder.name}.new-*"):
            shutil.rmtree(left, ignore_errors=True)
        aside = Path(tempfile.mkdtemp(prefix=f"{self.folder.name}.new-", dir=self.folder.parent))
        if self.programs.owner is not None:
            os.chown(aside, self.programs.owner, -1)
        options = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions")
        self.programs.run("initdb", "-D", str(aside), "-U", SUPERUSER, *options, within_seconds=PROGRAM_SECONDS)
        with (aside / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in (SETTINGS | dict(settings)).items())
        aside.rename(self.folder)

    def start(self) -> None:
        """Start the server.

        Raises:
            LocalServerError: it does not start; the text holds the end of its log.
        """
        self._forget_last_process()
        give_up = time.monotonic() + OLD_MEMORY_SECONDS
        while (said := self._try_start()) is not None:
            if "shared memory block" not in said or time.monotonic() >= give_up:
                raise LocalServerError(
                    f"Postgres {self.programs.version} does not start: {said}",
                    todo=f"Its log is {self.log}.",
                    code="local_server_start",
                )
            time.sleep(OLD_MEMORY_POLL_SECONDS)

    def stop(self) -> None:
        """Stop the server if it runs: in order, or without a checkpoint if that takes too long."""
        for mode in ("fast", "immediate"):
            if not self.is_running():
                return
            with contextlib.suppress(LocalServerError):
                arguments = ("stop", "-D", str(self.folder), "-m", mode, "-w", "-t", "60")
                self.programs.run("pg_ctl", *arguments, within_seconds=PROGRAM_SECONDS)

    def is_running(self) -> bool:
        """Whether the noted process is alive and this folder's Postgres: after a reboot its number may be anybody's."""
        pid = self._pid()
        return pid is not None and str(self.folder) in _command(pid)

    def wait_until_ready(self) -> None:
        """Return once the server takes connections.

        Raises:
            LocalServerError: it does not get ready.
        """
        give_up = time.monotonic() + READY_SECONDS
        while self._noted()[-1:] != ["ready"]:
            if time.monotonic() >= give_up or not self.is_running():
                raise LocalServerError(
                    f"Postgres {self.programs.version} started but did not get ready: {self._end_of_log()}",
                    todo=f"Its log is {self.log}.",
                    code="local_server_start",
                )
            time.sleep(POLL_SECONDS)

    def _try_start(self) -> str | None:
        """Start the server; return what it said if it did not."""
        options = f"-k {shlex.quote(str(self.socket_folder))} -p {PORT} -c unix_socket_permissions=0700"
        arguments = ("start", "-D", str(self.folder), "-w", "-t", "60", "-l", str(self.log), "-o", options)
        try:
            self.programs.run("pg_ctl", *arguments, within_seconds=PROGRAM_SECONDS)
        except LocalServerError as error:
            return self._end_of_log() or error.what
        return None

    def _forget_last_process(self) -> None:
        """Keep Postgres from refusing to start because its old pid is another program's now, or its own zombie's.

        Only the pid is overwritten: the rest of the file lets Postgres check for memory still in use by an old server.
        """
        for name in (f".s.PGSQL.{PORT}.lock", f".s.PGSQL.{PORT}"):
            (self.socket_folder / name).unlink(missing_ok=True)
        if self._pid() is not None:
            lines = [str(NO_SUCH_PID), *self._noted()[1:]]
            self.pid_file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _noted(self) -> list[str]:
        try:
            return [line.strip() for line in self.pid_file.read_text(encoding="utf-8").splitlines()]
        except FileNotFoundError:
            return []

    def _pid(self) -> int | None:
        try:
            return int(self._noted()[0])
        except (ValueError, IndexError):
            return None

    def _end_of_log(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return " | ".join(lines[-LOG_LINES_TOLD:])


def _command(pid: int) -> str:
    """Return a process' command line, or nothing where there is no such process."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ")
        except OSError:
            return ""
    listing = ["/bin/ps", "-p", str(pid), "-o", "command="]
    return subprocess.run(listing, check=False, capture_output=True, text=True).stdout  # noqa: S603 - fixed arguments
