"""Stop a development server once its last user is gone, however that user went.

Run as a script by :mod:`langgraph_control.audit.postgres.server`, with the standard library alone. Every user of a
server holds a shared lock on one file, which the kernel drops with the process, ``kill -9`` included. The keeper waits
for the exclusive lock: when it has it, nobody is left, and nobody can come before the server is down.
"""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

START_SECONDS: Final = 10.0  # how long a server that is just being started may take to write its pid file
POLL_SECONDS: Final = 0.05
STOP_SECONDS: Final = 60


def stop(pg_ctl: str, cluster: Path, owner: int | None) -> None:
    """Stop the server; a checkpoint first where there is time for one."""
    for mode in ("fast", "immediate"):
        command = [pg_ctl, "stop", "-D", str(cluster), "-m", mode, "-w", "-t", str(STOP_SECONDS)]
        done = subprocess.run(  # noqa: S603 - the caller's own Postgres, no shell
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            user=owner,
            extra_groups=None if owner is None else [],
        )
        if done.returncode == 0 or not (cluster / "postmaster.pid").exists():
            return


def main(pg_ctl: str, cluster: Path, users: Path, starting: Path, owner: int | None) -> None:
    """Wait for the last user to go, then stop the server."""
    with users.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # A starter killed in the act may have left a server that has not written its pid yet.
        give_up = time.monotonic() + START_SECONDS
        while starting.exists() and not (cluster / "postmaster.pid").exists() and time.monotonic() < give_up:
            time.sleep(POLL_SECONDS)
        if (cluster / "postmaster.pid").exists():
            stop(pg_ctl, cluster, owner)
        starting.unlink(missing_ok=True)


if __name__ == "__main__":
    # Forked once more, so that the process that started it has no child to wait for.
    if os.fork() == 0:
        program, data, in_use, marker, uid = sys.argv[1:]
        main(program, Path(data), Path(in_use), Path(marker), int(uid) if uid else None)
