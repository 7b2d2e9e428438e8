"""`make console` as it is run: three requests, two people, and nothing left at the end."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.docs.transcript import ROOT
from tests.support.waiting import until

TOKEN = re.compile(r"^ +(lgc_\S+)$", re.MULTILINE)


def hidden(page: str, name: str) -> str:
    """Return a hidden field's value, of the last form that has it."""
    return page.rpartition(f'name="{name}" value="')[2].partition('"')[0]


def decide(client: httpx.Client, path: str, decision: str) -> None:
    """Vote as a browser does."""
    page = client.get(path).text
    form = {"csrf": hidden(page, "csrf"), "digest": hidden(page, "digest"), "decision": decision, "comment": ""}
    assert client.post(f"{path}/vote", data=form).status_code == 303


def processes_naming(folder: Path) -> list[str]:
    """Return the processes whose command line names a folder."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], check=True, capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line]


@pytest.mark.timeout(180)
def test_three_requests_wait_are_decided_and_nothing_is_left(server_folder: Path) -> None:
    """With the printed address and tokens all three are decided; Ctrl-C ends it with 0, without files or processes."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LANGGRAPH_CONTROL_")}
    environment["TMPDIR"] = str(server_folder)
    said = server_folder / "said.txt"
    with said.open("w") as out:
        started = subprocess.Popen(
            [sys.executable, "-m", "demo.console"],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until(lambda: "Ctrl-C" in said.read_text() or started.poll() is not None, seconds=90)
        printed = said.read_text()
        assert started.poll() is None, printed
        assert max(map(len, printed.splitlines())) <= 80
        url = re.search(r"http://127\.0\.0\.1:\d+", printed)[0]  # type: ignore[index]  # asserted by what follows
        with httpx.Client(base_url=url, headers={"origin": url}, trust_env=False, timeout=20) as client:
            csrf = hidden(client.get("/sign-in").text, "csrf")
            assert client.post("/sign-in", data={"csrf": csrf, "token": TOKEN.findall(printed)[0]}).status_code == 303
            paths = re.findall(r'href="(/requests/apr_\w+)"', client.get("/").text)
            assert len(paths) == 3
            pages = [client.get(path).text for path in paths]
            assert [page.count("Look closely.") for page in pages] == [0, 0, 1]
            for path, decision in zip(paths, ("approve", "approve", "reject"), strict=True):
                decide(client, path, decision)
            until(lambda: client.get("/runs?state=done").text.count('data-item="run"') == 3, seconds=40)
            assert "Nothing waits for you" in client.get("/").text
        os.killpg(started.pid, signal.SIGINT)
        assert started.wait(40) == 0, said.read_text()
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGTERM)
            started.wait(20)
    assert "Traceback" not in said.read_text()
    said.unlink()
    until(lambda: not processes_naming(server_folder))
    assert list(server_folder.iterdir()) == []
