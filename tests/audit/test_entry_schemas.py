"""Every event of the trail has a schema, and an entry that is not as it says is found."""

import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from jsonschema import Draft202012Validator

from langgraph_control.audit.asking.attempts import Ignored, NoteAttempt
from langgraph_control.audit.asking.authority_requests import Edit, EditTaken
from langgraph_control.audit.asking.operator_requests import Cancel, Freeze, Scope
from langgraph_control.audit.asking.questions import Answer, AskUser
from langgraph_control.audit.asking.requests import FindTenantChain
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.audit.postgres.migrate import migrations
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.entry_forms import FORMS, Form
from langgraph_control.audit.trail.entry_schemas import EVENTS, problems, schema_of
from tests.support.complete_entries import note_events
from tests.support.desk import Desk, new_trigger
from tests.support.postgres import Database
from tests.support.trails import TrailWriter, json_bytes

ROOTS = (
    *("access", "run", "wait", "action", "effect", "approval", "review", "compensation", "breaker", "freeze", "policy"),
    *("delegation", "loop", "question", "resume", "payload", "key", "hold", "entries", "restore", "record"),
)
LOOPS = {"loop.noticed", "loop.stopped", "loop.parked"}
"""Put together in SQL from two parts."""


def test_the_vocabulary_is_what_sql_writes() -> None:
    """Each event that a function of the ledger names has a schema, and each schema's event is named by one."""
    sql = "\n".join(migration.text for migration in migrations())
    named = set(re.findall(rf"""['"]((?:{"|".join(ROOTS)})\.[a-z_]+)['"]""", sql))
    assert named | LOOPS == set(EVENTS)
    assert "'loop.' ||" in sql


@pytest.mark.parametrize("event", EVENTS)
def test_a_schema_is_one(event: str) -> None:
    """Each is valid JSON Schema, with an id that holds version and event."""
    schema = schema_of(event)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:langgraph-control:entry:1:{event}"


@pytest.mark.parametrize(
    "form", [one for one in FORMS if {"person", "person?"} & set(one.facts)], ids=lambda one: one.name
)
def test_who_said_it_is_told_with_their_roles(form: Form) -> None:
    """Where a person is on record, the roles that they had at that time are, too."""
    assert ("roles" in form.facts, "roles?" in form.facts) == ("person" in form.facts, "person?" in form.facts)


@pytest.fixture
def entries(desk: Desk) -> dict[str, Entry]:
    """Entries of one allowed refund, by their first event."""
    run = desk.run(desk.refunding(50), trigger=new_trigger())
    with TrailWriter(desk.database) as reader:
        found = [Entry.of(row) for row in reader.agent.entries(run_id(run.id))]
    return {entry.events[0]: entry for entry in found}


def test_what_an_agent_writes_is_complete(entries: dict[str, Entry]) -> None:
    """Start, claim, settle and end of a refund are as their schemas say; the end counts the entries."""
    assert set(entries) >= {"run.started", "action.proposed", "action.succeeded", "run.finished"}
    assert [problem for entry in entries.values() for problem in problems(entry)] == []
    end = entries["run.finished"]
    assert end.facts["entries"] == end.seq


@pytest.mark.parametrize(
    ("event", "changes", "said"),
    [
        ("action.proposed", {"tool": None}, "required"),
        ("action.proposed", {"more": 1}, "additionalProperties"),
        ("action.proposed", {"key": "abc"}, "facts.key: pattern"),
        ("action.proposed", {"events": ["action.proposed", "run.finished"]}, "facts.events.1: enum"),
        ("action.succeeded", {"state": "nowhere"}, "facts.state: enum"),
        ("run.finished", {"entries": "9"}, "facts.entries: type"),
        ("run.started", {"trigger": None}, "required"),
        ("run.started", {"events": ["run.vanished"]}, "no such event"),
        ("run.started", {"events": []}, "no event"),
    ],
)
def test_an_entry_that_is_not_complete_is_found(
    entries: dict[str, Entry], event: str, changes: dict[str, Any], said: str
) -> None:
    """A fact that is missing, unknown, of another form, or does not go together with the others is named."""
    entry = entries[event]
    facts = {name: value for name, value in {**entry.facts, **changes}.items() if value is not None}
    events = tuple(facts.get("events", ()))
    assert any(said in problem for problem in problems(replace(entry, facts=facts, events=events)))


@pytest.mark.parametrize("lacking", ["who", "who.actor", "why", "why.trigger", "why.intent", "where", "where.worker"])
def test_a_start_says_who_why_and_where(entries: dict[str, Entry], lacking: str) -> None:
    """A run's first entry names who asked, for what, and where it began: what is left out is named."""
    entry = entries["run.started"]
    assert not problems(entry)
    part, _, name = lacking.partition(".")
    body = {key: value for key, value in entry.body.items() if key != part or name}
    if name:
        body[part] = {key: value for key, value in entry.body[part].items() if key != name}
    assert any("required" in problem for problem in problems(replace(entry, body=body)))


def test_no_value_is_told(entries: dict[str, Entry]) -> None:
    """What is said of an entry names places and rules, and no value of it."""
    entry = entries["action.proposed"]
    found = problems(replace(entry, facts={**entry.facts, "tool": 7, "secret": "s3cret"}))
    assert found
    assert "s3cret" not in " ".join(found)


def test_words_that_do_not_count_are_complete_too(database: Database) -> None:
    """What nobody meant to happen has its schema as well: strangers' words, an edit that does not fit, a mismatch."""
    other: dict[str, Any] = {"person": "di@acme.example", "body": b"{}"}
    question = UUID(int=7)
    with TrailWriter(database) as trail, LedgerConnection(database.approver("ana")) as ana:
        trail.publish()
        run = trail.open()
        claim, _ = trail.claim(run)
        trail.settle(run, claim, events=("effect.mismatch",), body=b"{}")
        asked, waits = trail.claim(run, "other", verb="approve")
        assert waits.approval_id is not None
        said: dict[str, Any] = {"comment": None, "person": None, "identity": None, "body": b"{}"}
        ana.ask(Edit(approval_id=waits.approval_id, changes='{"invoice": 18}', **said))
        with psycopg.connect(database.admin) as admin:
            (edit,) = admin.execute("SELECT edit_no FROM control.edit").fetchone() or (0,)
        refused = json_bytes(edit=edit, problem="no such invoice")
        told = EditTaken(
            run_id=run.run_id, token=run.token, edit_no=edit, became=None, problem="no such invoice", body=refused
        )
        assert trail.agent.ask(told)
        which: dict[str, Any] = {
            "run_id": run.run_id,
            "token": run.token,
            "question_id": question,
            "key": asked.key,
            "tool": "refund",
        }
        trail.agent.ask(AskUser(**which, question="Which?"))
        answer: dict[str, Any] = {"run_id": run.run_id, "question_id": question, "answer": "This.", "identity": None}
        ana.ask(Answer(**answer, **other, payload=b'"This."'))
        ana.ask(Freeze(scope=Scope.TENANT, name="", comment="stop", **other))
        ana.ask(Cancel(run_id=run.run_id, comment="stop", **other))
        body = json_bytes(who={"person": None}, where={"worker": "w1"})
        trail.agent.ask(NoteAttempt(run_id=run.run_id, approval_id=None, reason=Ignored.NOT_AUTHENTICATED, body=body))
        chains = [run.run_id, trail.agent.ask(FindTenantChain()).run_id]
        entries = [Entry.of(row) for chain in chains for row in trail.agent.entries(chain)]
    wanted = {
        *(
            "effect.mismatch",
            "approval.edit_refused",
            "question.answer_refused",
            "freeze.refused",
            "run.cancel_refused",
        ),
        "resume.ignored",
    }
    found = {event: entry for entry in entries for event in entry.events if event in wanted}
    note_events(set(found))
    assert found.keys() == wanted
    assert [problem for entry in found.values() for problem in problems(entry)] == []
