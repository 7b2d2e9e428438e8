"""``console``: served as docs/console.md has it, refused where it would give tokens away."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Command
from tests.support.desk import publish
from tests.support.postgres import Database
from tests.support.waiting import until

PAGE = (Path(__file__).parents[2] / "docs" / "console.md").read_text("utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line.startswith("langgraph-control")
]


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def signing_in(command: Command, folder: Path) -> str:
    """Return a file that says how people sign in."""
    assert command("token", "add", "ana@acme.example", "--file", str(folder / "tokens")).exit_code == 0
    (folder / "sign-in.yaml").write_text("tokens: tokens\n")
    (folder / "sign-in.yaml").chmod(0o600)
    return str(folder / "sign-in.yaml")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_is_set_up_and_served_as_written(
    database: Database, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ending: signal.Signals
) -> None:
    """The page's commands make a login and a token and serve; a signal ends it in order, with 0."""
    publish(database)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANGGRAPH_CONTROL_ADMIN_DSN", database.admin)
    login, token, serve = COMMANDS
    (sign_in,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "sign-in.yaml").write_text(sign_in)
    (tmp_path / "sign-in.yaml").chmod(0o600)
    login = login.replace("console_service", "test_local_approver")
    assert command(*shlex.split(login)[1:]).exit_code == 0
    printed = command(*shlex.split(token)[1:])
    assert printed.exit_code == 0
    (secret,) = re.findall(r"lgc_\S+", printed.stdout)
    port = free_port()
    environment = {**os.environ, "LANGGRAPH_CONTROL_APPROVER_DSN": database.local_approver}
    program = "from langgraph_control.cli import main; main()"
    arguments = [sys.executable, "-c", program, *shlex.split(serve)[1:], "--port", str(port)]
    started = subprocess.Popen(arguments, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    assert started.stderr.readline() == f"The console is at http://127.0.0.1:{port}\n"
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        client.headers["origin"] = f"http://127.0.0.1:{port}"
        csrf = client.get("/sign-in").text.rpartition('name="csrf" value="')[2].partition('"')[0]
        assert client.post("/sign-in", data={"csrf": csrf, "token": secret}).status_code == 303
        with client.stream("GET", "/events") as news:
            first = next(part for part in news.iter_text() if "event: inbox" in part)
            assert '{"open":0}' in first
            started.send_signal(ending)
            until(lambda: started.poll() is not None, seconds=15)
    assert started.returncode == 0
    assert started.communicate()[1] == ""


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--host", "0.0.0.0"), "console_clear"),  # noqa: S104 - refused, that is the point
        (("--url", "http://control.acme.example"), "console_clear"),
        (("--url", "control"), "console_url"),
        (("--traces", "https://jaeger.acme.example/trace/"), "console_traces"),
        (("--traces", "https://jaeger.acme.example/{trace}/{span}"), "console_traces"),
        (("--traces", "https://{trace}.acme.example/"), "console_traces"),
        (("--traces", "javascript:alert({trace})"), "console_traces"),
        (("--certificate", "x.pem"), "console_key"),
    ],
)
def test_wrong_options_are_refused(
    database: Database, command: Command, tmp_path: Path, options: tuple[str, ...], code: str
) -> None:
    """What others could reach without TLS is not served, nor an address that is none."""
    auth = signing_in(command, tmp_path)
    refused = command("console", "--auth", auth, "--dsn", database.local_approver, *options)
    assert refused.exit_code == 1
    assert code in refused.stderr


def test_a_port_that_is_taken_is_said(database: Database, command: Command, tmp_path: Path) -> None:
    """Where something else listens, the console does not start, and says so."""
    auth = signing_in(command, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = command("console", "--auth", auth, "--dsn", database.local_approver, "--port", port)
    assert refused.exit_code == 1
    assert "console_port" in refused.stderr
