"""Folders, links and pyproject.toml say the same; no file knows the machine it was written on."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "langgraph_control"
ROOMS = ("graphs", "nodes", "audit", "guards")  # from the front door down to what imports nothing

# Where packages come from, and folders of one machine. Assembled, so that this file does not hold them.
REGISTRIES = ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "files" + ".pythonhosted", "artifact" + "ory")
MACHINE_PATH = re.compile(r"(?<![\w/.:~$}>-])/(?:work|tmp|root|home|Users|opt|mnt|srv)\b(?!-)")
LOCK_FILES = re.compile(r"(^|/)(uv\.lock|poetry\.lock|Pipfile\.lock|pdm\.lock|package-lock\.json)$")


def pyproject() -> dict[str, Any]:
    """Return pyproject.toml's contents."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def tracked_files() -> list[Path]:
    """Return what git tracks; skip where there is no git (an unpacked source distribution)."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name]


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_is_a_folder_and_a_link(room: str) -> None:
    """A room's code lives in the top-level folder, and the package reaches it by a relative link."""
    assert (ROOT / room / "__init__.py").is_file()
    assert not (ROOT / room).is_symlink()
    assert (PACKAGE / room).readlink() == Path("../..") / room


def test_the_package_links_to_nothing_else() -> None:
    """Every link in the package is a room, and every room is linked."""
    assert {path.name for path in PACKAGE.iterdir() if path.is_symlink()} == set(ROOMS)


def test_build_maps_every_room_once() -> None:
    """The wheel takes each room from its folder, and never a second time through the link."""
    hatch = pyproject()["tool"]["hatch"]["build"]
    wheel = hatch["targets"]["wheel"]
    assert set(hatch["exclude"]) == {f"/src/langgraph_control/{room}" for room in ROOMS}
    assert set(wheel["only-include"]) == {"src/langgraph_control", *ROOMS}
    assert wheel["sources"] == {"src/langgraph_control": "langgraph_control"} | {
        room: f"langgraph_control/{room}" for room in ROOMS
    }


def test_imports_are_checked_for_every_room() -> None:
    """The linters know all rooms: bare imports are banned, and the layers go one way, guards last before errors."""
    tools = pyproject()["tool"]
    assert set(tools["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]) == set(ROOMS)
    layers = next(contract for contract in tools["importlinter"]["contracts"] if contract["type"] == "layers")["layers"]
    assert [layer for layer in layers if layer.rpartition(".")[2] in ROOMS] == [
        f"langgraph_control.{room}" for room in ROOMS
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_tests_mirror_the_rooms(room: str) -> None:
    """Every room has a folder of tests by the same name."""
    assert (ROOT / "tests" / room).is_dir()


def test_no_file_names_a_registry_or_a_machine() -> None:
    """No tracked text names a package registry's host or a folder of one machine."""
    found = []
    for path in tracked_files():
        if not path.is_file() or path.is_symlink():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if any(host in line for host in REGISTRIES) or MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_no_lock_file_is_tracked() -> None:
    """Versions are held by constraints.txt alone, by name and version, without hashes or addresses."""
    assert [path for path in tracked_files() if LOCK_FILES.search(path.as_posix())] == []
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
    names = [line.partition("==")[0].lower() for line in lines]
    assert names == sorted(set(names))


def test_a_command_starts_without_the_agents_packages() -> None:
    """LangGraph and LangChain take longer to import than most commands take: only the few that need them do."""
    code = (
        "import sys, langgraph_control.cli.app; print([name for name in ('langgraph', 'langchain_core', 'langsmith')"
        " if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout == "[]\n"
