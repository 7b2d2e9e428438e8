"""The development server: shared by processes, gone with the last of them, however they end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from langgraph_control.audit.postgres import local_server
from langgraph_control.audit.postgres import programs as postgres_programs
from langgraph_control.audit.postgres.local_server import LocalLogin, LocalServer
from langgraph_control.audit.postgres.programs import find_programs
from langgraph_control.audit.postgres.server import PostgresServer
from langgraph_control.errors import LocalServerError, SchemaMismatch

PATIENCE_SECONDS = 60

# Start or join the server of argv[1], say so, and keep it until a line arrives on stdin.
USER_PROGRAM = """
import sys
from pathlib import Path
from langgraph_control.audit.postgres.server import PostgresServer
with PostgresServer.start(Path(sys.argv[1])) as server:
    print("up", flush=True)
    sys.stdin.readline()
"""


def user_process(data: Path) -> subprocess.Popen[str]:
    """Start a process that uses the server of a folder."""
    return subprocess.Popen(
        [sys.executable, "-c", USER_PROGRAM, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def said_up(process: subprocess.Popen[str]) -> bool:
    """Wait for the process to say that its server is up."""
    assert process.stdout is not None
    return process.stdout.readline() == "up\n"


def processes_naming(text: str) -> list[str]:
    """Return the command lines of all live processes that name a text."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and folder.name != str(os.getpid()):
            found.append(line)
    return found


def eventually(fact: Callable[[], bool]) -> bool:
    """Wait until other processes have made something true."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not fact() and time.monotonic() < give_up:
        time.sleep(0.05)
    return fact()


def test_local_logins_reach_a_migrated_database(server_folder: Path) -> None:
    """Every local login reaches the ledger under its own name, and its data survives a restart."""
    logins: tuple[LocalLogin, ...] = ("control_local_agent", "control_local_approver", "control_local_auditor")
    with LocalServer.start(server_folder / "data") as server:
        for login in logins:
            with psycopg.connect(server.dsn(login)) as connection:
                assert connection.execute("SELECT session_user::text").fetchone() == (login,)
        with psycopg.connect(server.dsn("control_local_admin")) as connection:
            connection.execute("SET ROLE control_owner")
            before = connection.execute("SELECT secret FROM control.tenant").fetchall()
            mapped = connection.execute("SELECT login, role, may_name_person FROM control.login ORDER BY 1").fetchall()
    assert mapped == [
        ("control_local_admin", "admin", False),
        ("control_local_agent", "agent", False),
        ("control_local_approver", "approver", True),
        ("control_local_auditor", "auditor", False),
    ]
    with (
        LocalServer.start(server_folder / "data") as server,
        psycopg.connect(server.dsn("control_local_admin")) as connection,
    ):
        connection.execute("SET ROLE control_owner")
        assert connection.execute("SELECT secret FROM control.tenant").fetchall() == before


def test_processes_that_prepare_at_once_agree(server_folder: Path) -> None:
    """Three development servers opened in the same instant in an empty folder are one, migrated once."""
    with ThreadPoolExecutor(3) as pool:
        servers = list(pool.map(lambda _: LocalServer.start(server_folder), range(3)))
    with psycopg.connect(servers[0].dsn("control_local_admin")) as connection:
        connection.execute("SET ROLE control_owner")
        assert connection.execute("SELECT count(*) FROM control.login").fetchone() == (4,)
    for server in servers:
        server.stop()


def test_a_folder_of_another_build_is_named(server_folder: Path) -> None:
    """A development database that was migrated by other files is left alone, and the error says which folder it is."""
    with (
        LocalServer.start(server_folder) as server,
        psycopg.connect(server.dsn("control_local_admin"), autocommit=True) as connection,
    ):
        connection.execute("SET ROLE control_owner")
        connection.execute("UPDATE control.migration SET sha256 = 'other' WHERE number = 2")
    with pytest.raises(SchemaMismatch, match="LANGGRAPH_CONTROL_DATA") as refused:
        LocalServer.start(server_folder)
    assert refused.value.code == "migration_changed"
    assert eventually(lambda: processes_naming(str(server_folder)) == [])


def test_the_admin_login_is_no_superuser(server_folder: Path) -> None:
    """The local admin prepares the database with the rights that a production admin has, not with a superuser's."""
    with (
        LocalServer.start(server_folder / "data") as server,
        psycopg.connect(server.dsn("control_local_admin")) as connection,
    ):
        row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = session_user").fetchone()
    assert row == (False,)


def test_programs_on_the_path_do_as_well(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel the development server runs on the Postgres of the PATH, with the same logins."""
    if postgres_programs.programs_on_the_path() is None:
        pytest.skip("no Postgres server programs on the PATH")
    monkeypatch.setattr(postgres_programs, "find_spec", lambda _: None)
    with LocalServer.start(server_folder) as server, psycopg.connect(server.dsn("control_local_agent")) as connection:
        assert connection.info.server_version // 10000 == server.server.cluster.programs.major
        assert f"Postgres {server.server.cluster.programs.version} " in server.where


def test_the_last_user_stops_the_server(server_folder: Path) -> None:
    """The server stays up while one of two holds is left and is down when the second is given back."""
    first = PostgresServer.start(server_folder)
    second = PostgresServer.start(server_folder)
    first.stop()
    with psycopg.connect(second.dsn()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    second.stop()
    second.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(second.dsn())
    assert eventually(lambda: processes_naming(str(server_folder)) == [])


def test_a_killed_user_leaves_nothing_running(server_folder: Path) -> None:
    """After kill -9 of the only user the server and its keeper end by themselves."""
    process = user_process(server_folder)
    assert said_up(process)
    assert processes_naming(str(server_folder))
    process.kill()
    process.communicate()
    assert eventually(lambda: processes_naming(str(server_folder)) == [])


def test_a_killed_user_does_not_stop_it_under_others(server_folder: Path) -> None:
    """After kill -9 of the process that started it the server goes on for the process that joined."""
    process = user_process(server_folder)
    assert said_up(process)
    with PostgresServer.start(server_folder) as server:
        process.kill()
        process.communicate()
        with psycopg.connect(server.dsn()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert eventually(lambda: processes_naming(str(server_folder)) == [])


def test_processes_that_start_at_once_share_one_server(server_folder: Path) -> None:
    """Four processes that start in the same instant in an empty folder share one server."""
    processes = [user_process(server_folder) for _ in range(4)]
    assert all(said_up(process) for process in processes)
    servers = [line for line in processes_naming(f"-D {server_folder}") if "postgres" in line.split(" ", maxsplit=1)[0]]
    assert len(servers) == 1
    for process in processes:
        process.communicate("\n")
        assert process.returncode == 0
    assert eventually(lambda: processes_naming(str(server_folder)) == [])


@pytest.mark.parametrize("delay_seconds", [0.0, 0.4, 0.8])
def test_interrupted_start_leaves_nothing(server_folder: Path, delay_seconds: float) -> None:
    """Ctrl-C at any moment of a first start leaves no process, and the next start works."""
    process = user_process(server_folder)
    assert eventually(lambda: any(server_folder.iterdir()) or process.poll() is not None)
    time.sleep(delay_seconds)  # the moment is the point of the test
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert eventually(lambda: processes_naming(f"{server_folder}/") == [])
    with (
        PostgresServer.start(server_folder) as server,
        psycopg.connect(server.dsn()) as connection,
    ):
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_stale_pid_file_does_not_stop_a_start(server_folder: Path) -> None:
    """A pid file left by a power cut, whose number now belongs to another program, is seen through."""
    with PostgresServer.start(server_folder) as server:
        left = server.cluster.pid_file.read_text()
    owner = server.cluster.programs.owner
    with subprocess.Popen(["sleep", "600"], user=owner, extra_groups=None if owner is None else []) as stranger:
        server.cluster.pid_file.write_text("\n".join([str(stranger.pid), *left.splitlines()[1:]]) + "\n")
        if owner is not None:
            os.chown(server.cluster.pid_file, owner, -1)
        with PostgresServer.start(server_folder) as again, psycopg.connect(again.dsn()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert stranger.poll() is None
        stranger.kill()


def test_a_crashed_server_is_started_again(server_folder: Path) -> None:
    """After kill -9 of Postgres itself the next start recovers it, and committed rows are there."""
    first = PostgresServer.start(server_folder)
    with psycopg.connect(first.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    pid = int(first.cluster.pid_file.read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    assert eventually(
        lambda: not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    with PostgresServer.start(server_folder) as second, psycopg.connect(second.dsn()) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    first.stop()
    assert eventually(lambda: processes_naming(str(server_folder)) == [])


def test_a_long_path_gets_a_short_socket(server_folder: Path) -> None:
    """A data folder whose path is too long for a socket still has a reachable server."""
    deep = server_folder / ("long-" * 20) / ("name-" * 10)
    with PostgresServer.start(deep) as server, psycopg.connect(server.dsn()) as connection:
        assert server.cluster.socket_folder != server.cluster.folder
        assert connection.execute("SELECT 1").fetchone() == (1,)
    server.cluster.socket_folder.rmdir()


def test_no_port_is_opened(server_folder: Path) -> None:
    """The server listens on no address, and its socket is for its owner alone."""
    with PostgresServer.start(server_folder) as server, psycopg.connect(server.dsn()) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        socket_file = server.cluster.socket_folder / ".s.PGSQL.5432"
        assert socket_file.stat().st_mode & 0o077 == 0


def test_without_programs_both_remedies_are_named(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is neither the wheel nor Postgres on the PATH, the error names both ways out."""
    monkeypatch.setattr(postgres_programs, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(server_folder))
    with pytest.raises(LocalServerError, match=r"langgraph-control\[local\].*initdb, pg_ctl.*PATH") as refused:
        LocalServer.start(server_folder / "data")
    assert refused.value.code == "local_server_programs_missing"


def test_an_unusable_folder_is_named(server_folder: Path) -> None:
    """A data folder that cannot be made is refused with the variable that chooses another."""
    (server_folder / "file").write_text("")
    with pytest.raises(LocalServerError, match="LANGGRAPH_CONTROL_DATA") as refused:
        PostgresServer.start(server_folder / "file" / "data")
    assert refused.value.code == "local_server_folder"


def test_a_server_that_cannot_start_shows_its_log(server_folder: Path) -> None:
    """Where Postgres itself refuses to start, the error carries the end of its log and nothing stays behind."""
    with pytest.raises(LocalServerError, match="no_such_setting") as refused:
        PostgresServer.start(server_folder, settings={"no_such_setting": "1"})
    assert refused.value.code == "local_server_start"
    assert eventually(lambda: processes_naming(str(server_folder)) == [])


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's server runs as that user")
def test_root_does_not_widen_permissions(server_folder: Path) -> None:
    """As root a folder that the server's user cannot enter is refused; no permission is changed for it."""
    private = server_folder / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(LocalServerError, match="not widened"):
        PostgresServer.start(private / "data")
    assert private.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as another user")
def test_unreachable_programs_are_copied(server_folder: Path) -> None:
    """As root the wheel's programs are copied if the server's user cannot reach them; a server runs from the copy."""
    wheel = find_programs(server_folder).folder.parent
    copy = postgres_programs._copied(wheel / "bin", server_folder)
    assert find_programs(server_folder, folder=copy).version == find_programs(server_folder).version
    assert postgres_programs._copied(wheel / "bin", server_folder) == copy
    with PostgresServer.start(server_folder, programs_folder=copy) as server:
        assert server.cluster.is_running()


def test_data_folder_rules(monkeypatch: pytest.MonkeyPatch, server_folder: Path) -> None:
    """The variable wins; else root uses /var/lib, and others their own data folder."""
    monkeypatch.setenv("LANGGRAPH_CONTROL_DATA", str(server_folder))
    assert local_server.data_folder() == server_folder
    monkeypatch.delenv("LANGGRAPH_CONTROL_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(server_folder / "share"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert local_server.data_folder() == server_folder / "share" / "langgraph-control"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert local_server.data_folder() == Path("/var/lib/langgraph-control")
