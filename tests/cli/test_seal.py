"""``seal`` and ``keys``: from no key to a pinned checkpoint, and what is refused on the way."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from langgraph_control.audit.seals.checkpoints import SignedCheckpoint, VerifierKey
from langgraph_control.audit.seals.pins import pinned_notes
from tests.cli.conftest import Command
from tests.support.postgres import Database
from tests.support.trails import TrailWriter


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the key is looked for."""
    path = tmp_path / "seal.key"
    monkeypatch.setenv("LANGGRAPH_CONTROL_SEAL_KEY", str(path))
    return path


def test_from_no_key_to_a_pinned_checkpoint(command: Command, trail: TrailWriter, key: Path, tmp_path: Path) -> None:
    """`keys create` prints the verifier key alone, and what `seal` then pins is signed by it."""
    database, pins = trail.database, tmp_path / "pins"
    trail.refund()
    made = command("keys", "create", "--dsn", database.admin)
    assert (made.exit_code, str(key) in made.stderr) == (0, True)
    verifier = VerifierKey.parse(made.stdout)
    sealed = command("seal", "--once", "--pin", f"file:{pins}", "--dsn", database.auditor)
    assert (sealed.exit_code, "Sealed 2 heads of chains." in sealed.stdout) == (0, True)
    (note,) = pinned_notes(pins.read_text())
    assert SignedCheckpoint.parse(note).signed_by([verifier]) == (verifier,)
    again = command("seal", "--once", "--pin", f"file:{pins}", "--dsn", database.auditor)
    assert "Sealed 0 heads of chains." in again.stdout
    assert command("keys", "show", "--dsn", database.auditor).stdout == made.stdout


def test_rotating(command: Command, database: Database, key: Path) -> None:
    """`keys rotate` prints the new key; `keys list` has both, and which signs now."""
    first = command("keys", "create", "--dsn", database.admin).stdout.strip()
    second = command("keys", "rotate", "--dsn", database.admin).stdout.strip()
    rows = json.loads(command("keys", "list", "--json", "--dsn", database.auditor).stdout)
    assert [(row["key"], row["until"] is None) for row in rows] == [(first, False), (second, True)]
    listed = command("keys", "list", "--dsn", database.auditor).stdout.replace("\n", "").replace(" ", "")
    assert first in listed
    assert second in listed
    assert command("keys", "show", "--dsn", database.auditor).stdout.strip() == second


def test_a_lost_key(command: Command, database: Database, key: Path) -> None:
    """Where the key file is gone for good, `keys create --in-place-of-lost` has another one sign."""
    assert "key_none" in command("keys", "create", "--in-place-of-lost", "--dsn", database.admin).stderr
    first = command("keys", "create", "--dsn", database.admin).stdout
    key.unlink()
    assert "key_exists" in command("keys", "create", "--dsn", database.admin).stderr
    second = command("keys", "create", "--in-place-of-lost", "--dsn", database.admin).stdout
    assert command("keys", "show", "--dsn", database.auditor).stdout == second != first


def test_what_is_refused(command: Command, database: Database, key: Path) -> None:
    """No key, a key others can read, a pin or pause that is none, and the wrong login: each ends with its code."""
    assert "Code:  key_missing" in command("seal", "--once", "--dsn", database.auditor).stderr
    assert "Code:  key_none" in command("keys", "show", "--dsn", database.auditor).stderr
    assert "No key" in command("keys", "list", "--dsn", database.auditor).stdout
    assert "Code:  database_login_lacks_rights" in command("keys", "create", "--dsn", database.agent).stderr
    command("keys", "create", "--dsn", database.admin)
    key.chmod(0o644)
    assert "Code:  key_mode" in command("seal", "--once", "--dsn", database.auditor).stderr
    key.chmod(0o600)
    assert "Code:  pin_invalid" in command("seal", "--pin", "x", "--dsn", database.auditor).stderr
    assert "Code:  seal_every" in command("seal", "--every", "soon", "--dsn", database.auditor).stderr


def test_a_pin_that_fails_is_told(command: Command, database: Database, key: Path) -> None:
    """With a full disk at the pin, what was sealed stays sealed, and the command ends with 1 and names the pin."""
    command("keys", "create", "--dsn", database.admin)
    done = command("seal", "--once", "--pin", "file:/dev/full", "--dsn", database.auditor)
    assert (done.exit_code, "Sealed 1 head of chains." in done.stdout) == (1, True)
    assert "No space left on device" in done.stdout


def test_sealing_until_told_to_stop(command: Command, trail: TrailWriter, key: Path, tmp_path: Path) -> None:
    """A sealer that runs seals what comes, and ends with 0 when it is told to stop."""
    command("keys", "create", "--dsn", trail.database.admin)
    pins = tmp_path / "pins"
    arguments = ["seal", "--every", "50ms", "--key", str(key), "--pin", f"file:{pins}", "--dsn", trail.database.auditor]
    with subprocess.Popen(
        [sys.executable, "-c", "from langgraph_control.cli import main; main()", *arguments], stderr=subprocess.PIPE
    ) as process:
        for size in (1, 2, 3):
            deadline = time.monotonic() + 60
            while (
                not pins.exists() or SignedCheckpoint.parse(pinned_notes(pins.read_text())[-1]).checkpoint.size < size
            ):
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.02)
            trail.open(f"ticket/{size}")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
