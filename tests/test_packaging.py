"""What is shipped: every file once, whichever way it is built."""

import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("graphs", "nodes", "audit", "guards")
SHIPPED = {".py", ".sql", ".typed", ".html", ".css", ".js", ".svg", ".txt"}

# Run with the wheel's unpacked files before everything else on the path.
USE_THE_WHEEL = """
import langgraph_control, sys
from langgraph_control.audit.postgres.migrate import migrations
print(langgraph_control.__file__.startswith(sys.argv[1]), len(migrations()))
"""


def build(source: Path, target: Path, *kinds: str) -> None:
    """Build distributions without fetching anything."""
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), *kinds, str(source)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def contents(wheel: Path) -> dict[str, bytes]:
    """Return a wheel's files, without the record that lists them."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("RECORD")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The wheel, the source distribution, and the wheel built from that."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder / "direct", "--wheel", "--sdist")
    (sdist,) = (folder / "direct").glob("*.tar.gz")
    subprocess.run([sys.executable, "-m", "tarfile", "-e", str(sdist), str(folder / "unpacked")], check=True)
    (source,) = (folder / "unpacked").iterdir()
    build(source, folder / "again", "--wheel")
    (wheel,) = (folder / "direct").glob("*.whl")
    (again,) = (folder / "again").glob("*.whl")
    return wheel, sdist, again


def expected_files() -> set[str]:
    """Return what a wheel has to hold: the front door's files and each room's, under the package's name."""
    front = {
        f"langgraph_control/{path.relative_to(ROOT / 'src' / 'langgraph_control').as_posix()}"
        for path in (ROOT / "src" / "langgraph_control").rglob("*")
        if path.suffix in SHIPPED and not any(parent.is_symlink() for parent in path.parents)
    }
    rooms = {
        f"langgraph_control/{path.relative_to(ROOT).as_posix()}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.suffix in SHIPPED
    }
    return front | rooms


@pytest.mark.xdist_group("packaging")
def test_wheel_holds_each_file_once(built: tuple[Path, Path, Path]) -> None:
    """The wheel holds every module, every SQL file and py.typed exactly once, and nothing outside the package."""
    with zipfile.ZipFile(built[0]) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert set(names) == expected_files()
    assert "langgraph_control/py.typed" in names
    assert "langgraph_control/audit/sql/migrations/0001_roles.sql" in names
    console = "langgraph_control/console"
    assert {
        f"{console}/templates/base.html",
        f"{console}/static/htmx.min.js",
        f"{console}/static/htmx.LICENSE.txt",
    } <= set(names)


@pytest.mark.xdist_group("packaging")
def test_wheel_from_sdist_is_the_same(built: tuple[Path, Path, Path]) -> None:
    """A wheel built from the source distribution holds the same bytes as the one built from the checkout."""
    wheel, _, again = built
    assert contents(wheel) == contents(again)


@pytest.mark.xdist_group("packaging")
def test_sdist_is_whole(built: tuple[Path, Path, Path]) -> None:
    """The source distribution holds the rooms, the tests and the licence, and no generated files."""
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "tests/conftest.py", "Makefile"} <= names
    assert {"audit/postgres/migrate.py", "audit/sql/statements.sql"} <= names
    assert [name for name in names if "__pycache__" in name or name.startswith((".venv", "dist/", ".git/"))] == []


@pytest.mark.xdist_group("packaging")
def test_installed_wheel_finds_its_sql(built: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """An installed wheel, away from the checkout, imports and finds its migrations."""
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(built[0]), str(tmp_path)], check=True)
    program = f"import sys; sys.path.insert(0, sys.argv[1])\n{USE_THE_WHEEL}"
    said = subprocess.run(
        [sys.executable, "-I", "-c", program, str(tmp_path)], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    count = len(list((ROOT / "audit" / "sql" / "migrations").glob("*.sql")))
    assert said.stdout.split() == ["True", str(count)]
