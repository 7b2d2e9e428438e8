"""``show``, ``runs``, ``verify`` and ``export`` print what is on record, and say clearly what is wrong."""

import json
import os
import subprocess
import sys
from uuid import uuid4

import pytest

from langgraph_control.cli.output import console
from tests.cli.conftest import Command
from tests.support.desk import Desk
from tests.support.postgres import Database
from tests.support.trails import TrailWriter, tamper


def test_show_prints_a_run_as_a_timeline(command: Command, trail: TrailWriter) -> None:
    """Header and timeline tell who, what, when and why, found by the run's trigger."""
    run = trail.refund()
    shown = command("show", "ticket/4711", "--dsn", trail.database.auditor)
    assert shown.exit_code == 0
    for said in (
        f"run_{run.run_id.hex}: done",
        "support-agent for dora@acme.example",
        "approved by  ana@acme.example",
        "refund: approval requested, apr_",
        "refund: approved, and that is enough (3 d 2 h)",
        "by ana@acme.example (finance)",
        '"the invoice was paid twice"',
        "why: rules[0] policy.yaml:6 says approve",
        'with invoice=17, note="refund"',
        'changes status: "paid" -> "refunded"',
        "signal: risk: large",
        "refund: done, and read back: it is there",
        "the run is done",
    ):
        assert said in shown.stdout


def test_what_people_changed_is_told(command: Command, desk: Desk, trigger: str) -> None:
    """The story and both documents say with which arguments instead, and that what does not fit was not taken."""
    graph, ana = desk.refunding(500), desk.database.approver("ana")
    run = desk.run(graph, trigger=trigger)
    command("edit", run.approvals[0], "amount=abc", "--comment", "typo", "--dsn", ana)
    desk.run(graph, trigger=trigger)
    command("edit", run.approvals[0], 'amount="300"', "--dsn", ana)
    desk.run(graph, trigger=trigger)
    auditor = desk.database.auditor
    shown = command("show", run.id, "--dsn", auditor).stdout
    assert "refund: a person asked for other arguments" in shown
    assert 'with amount="abc"' in shown
    assert 'with amount="300"' in shown
    assert "cannot read" not in shown
    markdown = command("show", run.id, "--markdown", "--dsn", auditor).stdout
    rows = [line for line in markdown.splitlines() if "edit: amount=" in line]
    assert len(rows) == 2
    assert 'edit: amount="abc" | no: amount: ' in rows[0]
    assert rows[0].endswith("| typo |")
    assert 'edit: amount="300" | yes |' in rows[1]
    html = command("show", run.id, "--html", "--dsn", auditor).stdout
    assert "edit: amount=&quot;300&quot;" in html or 'edit: amount="300"' in html
    told = json.loads(command("show", run.id, "--json", "--dsn", auditor).stdout)["rebuilt"]["requests"][0]["edits"]
    assert [(one["changes"], bool(one["problem"])) for one in told] == [
        ({"amount": "abc"}, True),
        ({"amount": "300"}, False),
    ]


def test_output_fits_eighty_columns_without_colour(command: Command, trail: TrailWriter) -> None:
    """What is piped has no escapes, no line over 80 columns and no trailing spaces."""
    run = trail.open()
    trail.claim(run, payload=json.dumps({"args": {"note": "long " * 300}, "before": None}).encode())
    shown = command("show", f"run_{run.run_id.hex}", "--dsn", trail.database.auditor).stdout
    assert "\x1b" not in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert not [line for line in shown.splitlines() if line != line.rstrip()]


def test_hostile_text_reaches_no_terminal(command: Command, trail: TrailWriter) -> None:
    """Escapes, reversed text and markup from a model are printed as what they are, in text and in JSON."""
    run = trail.open()
    payload = '{"args": {"note": "\\u001b]0;own\\u0007 \\u202egnp.exe [bold red]hi[/]"}, "before": null}'
    body = run.body(reasons=["\x1b[2J", "[link=https://evil.example]click[/link]"], verb="allow")
    trail.claim(run, payload=payload.encode(), body=body, tool="re\x9bfund")
    for option in ([], ["--json"]):
        shown = command("show", str(run.run_id), *option, "--dsn", trail.database.auditor)
        assert shown.exit_code == 0
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown.stdout)
        assert "[bold red]hi[/]" in shown.stdout
        assert "[link=https://evil.example]click[/link]" in shown.stdout


def test_show_lists_what_is_applied_of_a_saga(command: Command, trail: TrailWriter) -> None:
    """Each step stands there with what is in effect of it, and the entries say which step is done or taken back."""
    run = trail.open()
    saga = {"id": "ab" * 32, "name": "move"}
    done = [
        trail.claim(run, name, saga={**saga, "step": step})[0] for step, name in enumerate(("tax", "ship"), start=1)
    ]
    for claim in done:
        trail.settle(run, claim)
    undo, _ = trail.claim(run, "void", tool="void", saga={**saga, "step": 2, "undoes": done[1].key.hex()})
    shown = command("show", str(run.run_id), "--dsn", trail.database.auditor).stdout
    for said in (
        "saga move",
        "  1 refund in effect",
        "  2 refund being taken back",
        "void, to take back step 2 of move: began",
    ):
        assert said in shown
    trail.settle(run, undo)
    shown = command("show", str(run.run_id), "--dsn", trail.database.auditor).stdout
    assert "  2 refund taken back" in shown
    assert "what it takes back is taken back" in shown
    told = json.loads(command("show", str(run.run_id), "--json", "--dsn", trail.database.auditor).stdout)["sagas"]
    assert [(part["step"], part["undo_state"], part["standing"]) for part in told] == [
        (1, None, "in effect"),
        (2, "succeeded", "taken back"),
    ]


def test_show_as_json(command: Command, trail: TrailWriter) -> None:
    """The whole story is there as data: state, next step, and each step with its facts."""
    trail.refund()
    shown = json.loads(command("show", "ticket/4711", "--json", "--dsn", trail.database.auditor).stdout)
    assert shown["run"]["state"] == "done"
    vote = shown["story"]["steps"][4]
    assert (vote["who"], vote["events"]) == ("ana@acme.example (finance)", ["approval.voted", "approval.granted"])
    assert vote["took_seconds"] > 3 * 86400


FORMS = pytest.mark.parametrize("form", [(), ("--json",), ("--markdown",), ("--html",)])


@FORMS
def test_show_tells_a_run_as_its_entries_do(command: Command, trail: TrailWriter, form: tuple[str, ...]) -> None:
    """A row that was changed by hand is not what is shown: it is named, and the exit code says it."""
    run = trail.refund()
    for column in ("actor", "on_behalf_of", "intent"):
        tamper(trail.database, f"UPDATE control.run SET {column} = 'mallory' WHERE run_id = %s", run.run_id)
    shown = command("show", f"run_{run.run_id.hex}", *form, "--dsn", trail.database.auditor)
    assert shown.exit_code == 1
    assert "support-agent" in shown.stdout
    if not form:
        assert "mallory" not in shown.stdout
        assert "DIFFERS from its entries: its row has another actor than the entry that started it" in shown.stdout
    if form == ("--json",):
        told = json.loads(shown.stdout)
        assert len(told["differs"]) == 3
        assert told["rebuilt"]["actor"] == "support-agent"
        assert told["record"] == {"whole": True, "entries": 9, "broken": None}


def test_show_says_where_the_row_has_another_state(command: Command, trail: TrailWriter) -> None:
    """Where a run stands is what its entries leave."""
    run = trail.refund()
    tamper(trail.database, "UPDATE control.run_state SET state = 'needs_human' WHERE run_id = %s", run.run_id)
    shown = command("show", "ticket/4711", "--dsn", trail.database.auditor)
    assert shown.exit_code == 1
    assert shown.stdout.startswith(f"run_{run.run_id.hex}: done\n")
    assert "DIFFERS from its entries: it is needs_human, and its entries leave it done" in shown.stdout


@FORMS
def test_show_says_that_entries_were_tampered_with(command: Command, trail: TrailWriter, form: tuple[str, ...]) -> None:
    """What is told rests on entries, so whether they are whole is told with it, in each form."""
    run = trail.refund()
    tamper(trail.database, "UPDATE control.entry SET body = '{}' WHERE run_id = %s AND seq = 5", run.run_id)
    shown = command("show", "ticket/4711", *form, "--dsn", trail.database.auditor)
    assert shown.exit_code == 1
    if form == ("--json",):
        assert json.loads(shown.stdout)["record"]["broken"].startswith("entry 5: its hash does not follow")
    else:
        assert "TAMPERED WITH: entry 5: its hash does not follow" in " ".join(shown.stdout.split())


@FORMS
def test_show_tells_a_run_whose_row_is_gone(command: Command, trail: TrailWriter, form: tuple[str, ...]) -> None:
    """Its trail is enough, and that the row is missing is said."""
    run = trail.refund()
    tamper(trail.database, "DELETE FROM control.run WHERE run_id = %s", run.run_id)
    shown = command("show", f"run_{run.run_id.hex}", *form, "--dsn", trail.database.auditor)
    assert shown.exit_code == 1
    assert "support-agent" in shown.stdout
    assert "the run's own row is missing; 9 entries are there" in shown.stdout.replace("&#x27;", "'")
    assert command("show", f"run_{uuid4().hex}", "--dsn", trail.database.auditor).exit_code == 2


def test_show_names_the_next_step(command: Command, trail: TrailWriter) -> None:
    """A run that waits for approval shows the command that gives it."""
    run = trail.open()
    _, claimed = trail.claim(run, verb="approve")
    assert claimed.approval_id is not None
    shown = command("show", "ticket/4711", "--dsn", trail.database.auditor).stdout
    assert f"apr_{claimed.approval_id.hex}" in shown


def test_runs_lists_the_newest_first(command: Command, trail: TrailWriter) -> None:
    """Each run is named with its state, trigger and start."""
    trail.open("ticket/1")
    trail.open("ticket/2")
    shown = command("runs", "--dsn", trail.database.auditor).stdout
    assert shown.index("ticket/2") < shown.index("ticket/1")
    assert shown.count(": running") == 2
    assert [
        run["trigger"] for run in json.loads(command("runs", "--json", "--dsn", trail.database.auditor).stdout)
    ] == [
        "ticket/2",
        "ticket/1",
    ]


def test_runs_of_an_empty_ledger(command: Command, database: Database) -> None:
    """Where there are no runs, that is said."""
    assert command("runs", "--dsn", database.auditor).stdout == "There are no runs yet.\n"


def test_verify_says_ok(command: Command, trail: TrailWriter) -> None:
    """A whole chain: the number of entries, and exit code 0."""
    trail.refund()
    verified = command("verify", "ticket/4711", "--dsn", trail.database.auditor)
    assert (verified.stdout, verified.exit_code) == ("verify: OK (9 entries)\n", 0)


def test_verify_says_what_is_wrong(command: Command, trail: TrailWriter) -> None:
    """A chain that was tampered with: the first broken entry, and exit code 1."""
    run = trail.refund()
    tamper(trail.database, "UPDATE control.entry SET body = '{}' WHERE run_id = %s AND seq = 5", run.run_id)
    verified = command("verify", f"run_{run.run_id.hex}", "--dsn", trail.database.auditor)
    assert verified.exit_code == 1
    assert verified.stdout.startswith("verify: TAMPERED, entry 5:")


def test_verify_finds_a_run_whose_row_is_gone(command: Command, trail: TrailWriter) -> None:
    """Deleting the run's own row hides nothing from who knows its name."""
    run = trail.refund()
    tamper(trail.database, "DELETE FROM control.run WHERE run_id = %s", run.run_id)
    assert command("verify", f"run_{run.run_id.hex}", "--dsn", trail.database.auditor).exit_code == 1


def test_verify_of_no_run_and_of_no_server(command: Command, database: Database) -> None:
    """Exit code 2 where there is no such run, 3 where the record cannot be read: neither says "tampered"."""
    assert command("verify", str(uuid4()), "--dsn", database.auditor).exit_code == 2
    assert command("verify", "no/such", "--dsn", database.auditor).exit_code == 2
    unreachable = command("verify", "any", "--dsn", "postgresql://user:secret@127.0.0.1:1/none")
    assert unreachable.exit_code == 3
    assert "secret" not in unreachable.stderr


def test_export_to_the_console(command: Command, trail: TrailWriter) -> None:
    """Spans are printed as JSON, their number on standard error."""
    trail.refund()
    exported = command("export", "ticket/4711", "--dsn", trail.database.auditor)
    assert exported.stdout.count('"trace_id"') == 5
    assert exported.stderr == "Exported 5 spans of 1 run.\n"


def test_export_of_all_runs(command: Command, trail: TrailWriter) -> None:
    """With --all the newest runs are exported, and a limit that was reached is said."""
    trail.refund("ticket/1")
    trail.refund("ticket/2")
    exported = command("export", "--all", "--limit", "2", "--dsn", trail.database.auditor)
    assert exported.stderr.startswith("Exported 10 spans of 2 runs.")
    assert "raise --limit" in exported.stderr


def test_export_wants_one_or_all(command: Command) -> None:
    """Neither a run nor --all, or both, is a usage error."""
    assert command("export").exit_code == 2
    assert command("export", "ticket/1", "--all").exit_code == 2


def test_export_to_nowhere(command: Command, trail: TrailWriter) -> None:
    """A receiver that is not there is an error with a next step, after the exporter's own retries were cut short."""
    trail.refund()
    os.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = "1"
    try:
        exported = command(
            "export",
            "ticket/4711",
            "--exporter",
            "otlp",
            "--endpoint",
            "http://127.0.0.1:1/v1/traces",
            "--dsn",
            trail.database.auditor,
        )
    finally:
        del os.environ["OTEL_EXPORTER_OTLP_TIMEOUT"]
    assert exported.exit_code == 1
    assert "export_failed" in exported.stderr


def test_the_installed_command(trail: TrailWriter) -> None:
    """The command that pip installs takes its database from the environment and ends with verify's exit codes."""
    run = trail.refund()
    program = os.path.join(os.path.dirname(sys.executable), "langgraph-control")  # noqa: PTH118, PTH120 - beside this Python
    environment = {"LANGGRAPH_CONTROL_DSN": trail.database.auditor, "PATH": os.environ["PATH"]}

    def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)

    whole = ran("verify", "ticket/4711")
    assert (whole.returncode, whole.stdout, whole.stderr) == (0, "verify: OK (9 entries)\n", "")
    tamper(trail.database, "DELETE FROM control.entry WHERE run_id = %s AND seq = 2", run.run_id)
    assert ran("verify", "ticket/4711").returncode == 1
    unknown = ran("show", "no/such")
    assert unknown.returncode == 2
    assert [line.partition(" ")[0] for line in unknown.stderr.splitlines()] == ["Error:", "Safe:", "Next:", "Code:"]


def test_a_console_takes_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets are text."""
    console().print("[bold]x[/bold] :smile:")
    assert capsys.readouterr().out == "[bold]x[/bold] :smile:\n"
