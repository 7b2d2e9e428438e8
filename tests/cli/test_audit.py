"""``audit export``, ``audit verify`` and ``audit receipt``."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.support.sealing import SealedRecord
from tests.support.trails import TrailWriter


@pytest.fixture
def record(trail: TrailWriter, tmp_path: Path) -> SealedRecord:
    """One finished run, sealed and pinned."""
    made = SealedRecord(database=trail.database, folder=tmp_path)
    made.refund("ticket/1")
    made.seal()
    return made


def told(printed: str) -> dict[str, object]:
    """What a command printed as JSON."""
    value: dict[str, object] = json.loads(printed)
    return value


def test_what_was_exported_is_verified(command: Command, record: SealedRecord, tmp_path: Path) -> None:
    """A run by its trigger, what moved since a day, and everything are exported and verified."""
    for number, what in enumerate((["ticket/1"], ["--since", "2020-01-01"], ["--all"])):
        out = str(tmp_path / f"{number}.jsonl")
        exported = command("audit", "export", *what, "--out", out, "--dsn", record.database.auditor)
        assert exported.exit_code == 0
        assert "sealed in a tree of 2 leaves." in exported.stdout
        verified = command("audit", "verify", out, "--key", record.vkey, "--pin", str(record.pins), "--json")
        assert verified.exit_code == 0
        assert told(verified.stdout)["outcome"] == "ok"


def test_the_exit_code_says_what_is_missing(command: Command, record: SealedRecord, tmp_path: Path) -> None:
    """No pin, an unsealed entry, a byte that was changed and a file that is none have exit codes of their own."""
    record.refund("ticket/2")
    sealed, later, changed = (str(tmp_path / name) for name in ("sealed", "later", "changed"))
    dsn = ("--dsn", record.database.auditor)
    assert command("audit", "export", "ticket/1", "--out", sealed, *dsn).exit_code == 0
    exported = command("audit", "export", "--all", "--out", later, *dsn)
    assert "but 9 entries that came since" in exported.stdout
    key = ("--key", record.vkey)
    assert command("audit", "verify", sealed, *key).exit_code == 5
    assert command("audit", "verify", later, *key, "--pin", str(record.pins)).exit_code == 4
    Path(changed).write_bytes(Path(sealed).read_bytes().replace(b"support-agent", b"support-agenT", 1))
    verified = command("audit", "verify", changed, *key, "--pin", str(record.pins))
    assert verified.exit_code == 3
    assert f"entry 1 of run_{record.runs[0].hex}" in " ".join(verified.stdout.split())
    assert command("audit", "verify", str(record.key), *key).exit_code == 2


def test_nothing_is_written_over(command: Command, record: SealedRecord, tmp_path: Path) -> None:
    """A file that is there stays as it is."""
    out = tmp_path / "bundle.jsonl"
    out.write_text("mine", "utf-8")
    refused = command("audit", "export", "--all", "--out", str(out), "--dsn", record.database.auditor)
    assert refused.exit_code == 1
    assert "bundle_exists" in refused.stderr
    assert out.read_text("utf-8") == "mine"


@pytest.mark.parametrize("what", [[], ["ticket/1", "--all"], ["--all", "--since", "2020-01-01"]])
def test_one_thing_is_exported(command: Command, tmp_path: Path, what: list[str]) -> None:
    """Runs, a time or everything: one of them, else nothing is asked of any database."""
    assert command("audit", "export", *what, "--out", str(tmp_path / "out")).exit_code == 2


def test_a_receipt_by_entry_and_by_request(command: Command, record: SealedRecord, tmp_path: Path) -> None:
    """A receipt is fetched by run and place, or by the request's name, on the approver's login, and verified."""
    dsn = ("--dsn", record.database.approver("ana"))
    listed = command("show", "ticket/1", "--json", "--dsn", record.database.auditor)
    assert listed.exit_code == 0
    name = next(word for word in listed.stdout.replace('"', " ").split() if word.startswith("apr_"))
    for number, what in enumerate(("ticket/1/5", name)):
        out = str(tmp_path / f"{number}.jsonl")
        assert command("audit", "receipt", what, "--out", out, *dsn).exit_code == 0
        assert command("audit", "verify", out, "--key", record.vkey, "--pin", str(record.pins)).exit_code == 0
    assert "entry_unknown" in command("audit", "receipt", "ticket/1/99", "--out", str(tmp_path / "x"), *dsn).stderr
    assert command("audit", "receipt", "ticket", "--out", str(tmp_path / "x"), *dsn).exit_code == 2
