"""A run is told from its entries alone."""

import sys
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langgraph_control.audit.asking.ledger import Outcome
from langgraph_control.audit.asking.rows import EntryRow, RunState
from langgraph_control.audit.printable import printable
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.reconstruct import Story, reconstruct
from langgraph_control.audit.trail.timeline import duration_text, timeline
from langgraph_control.audit.trail.tones import Tone
from langgraph_control.guards.canonical import canonical_bytes
from tests.support.postgres import Database
from tests.support.trails import POLICY, OpenRun, TrailWriter, tamper

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def trail(database: Database) -> Iterator[TrailWriter]:
    """A writer of trails in a database of its own, with finance published."""
    with TrailWriter(database) as writer:
        writer.publish()
        yield writer


def entry_of(facts: dict[str, object], payload: bytes | None) -> Entry:
    """Return an entry with these facts and this payload."""
    return Entry.told(
        seq=1, tenant="default", at=EPOCH, facts=orjson.dumps(facts).decode(), body=b"{}", payload=payload, erased=False
    )


def told(trail: TrailWriter, run: OpenRun) -> Story:
    """Tell a run as it is on record now."""
    return reconstruct(Entry.of(row) for row in trail.agent.entries(run.run_id))


def test_an_approved_refund_is_told_in_order(trail: TrailWriter) -> None:
    """Trigger, read, request, wait, vote, attempt, verification and end are there, in order, in plain words."""
    run = trail.refund()
    story = told(trail, run)
    assert [step.what.partition(", apr_")[0] for step in story.steps] == [
        "the run started",
        "find_invoice: read",
        "refund: approval requested",
        "the run waits for approval",
        "refund: approved, and that is enough",
        "the run went on",
        "refund: began",
        "refund: done, and read back: it is there",
        "the run is done",
    ]
    assert story.ended
    assert (story.trigger, story.intent, story.actor) == ("ticket/4711", "ticket/4711", "support-agent")
    assert (story.on_behalf_of, story.graph, story.people) == ("dora@acme.example", "support", ("ana@acme.example",))


def test_who_why_and_what_are_told(trail: TrailWriter) -> None:
    """The vote names person, role and comment; the attempt names rule, policy, target and arguments."""
    story = told(trail, trail.refund())
    vote, attempt = story.steps[4], story.steps[6]
    assert vote.who == "ana@acme.example (finance)"
    assert vote.why == ('"the invoice was paid twice"',)
    assert attempt.who == "support-agent for dora@acme.example on w1"
    assert attempt.why == ("rules[0] policy.yaml:6 says approve",)
    details = dict(attempt.details)
    assert details["target"] == "invoice 17"
    assert details["signal"] == "risk: large"
    assert dict(attempt.ids)["policy"] == POLICY
    assert attempt.arguments == (("invoice", "17"), ("note", '"refund"'))


def test_what_was_to_change_is_told_field_by_field() -> None:
    """From the payload: what the record was and what it was to become, where the two differ; erased, it is gone."""
    payload = {
        "args": {"id": 17},
        "before": {"status": "open", "total": Decimal("5.00"), "lines": 3},
        "after": {"status": "closed", "lines": 3, "closed_by": None},
    }
    facts = {"at": 0, "login": "agent", "events": ["action.proposed"], "tool": "close", "key": "0" * 64}
    entry = entry_of(facts, payload=canonical_bytes(payload))
    (step,) = reconstruct([entry]).steps
    assert step.changes == (("closed_by", "", "null"), ("status", '"open"', '"closed"'))
    (line,) = timeline(reconstruct([entry]))
    assert line.changes == ("closed_by: (nothing) -> null", 'status: "open" -> "closed"')
    assert reconstruct([entry_of(facts, payload=b"no payload of ours")]).steps[0].changes == ()
    assert reconstruct([entry_of(facts, payload=None)]).steps[0].changes == ()


EDITED = {"at": 0, "login": "ana", "events": ["approval.edited"], "tool": "refund", "key": "0" * 64}


def test_what_a_person_changed_is_told() -> None:
    """Argument and value, as the edit's own payload has them, whatever an argument is called; erased, it is gone."""
    asked = {"amount": "300", "args": {"a": 1}, "after": {"status": "x"}, "note": None}
    (step,) = reconstruct([entry_of(EDITED, payload=canonical_bytes(asked))]).steps
    assert step.what == "refund: a person asked for other arguments"
    assert step.arguments == (("after", '{"status":"x"}'), ("amount", '"300"'), ("args", '{"a":1}'), ("note", "null"))
    assert step.changes == ()
    (damaged,) = reconstruct([entry_of(EDITED, payload=b"[1]")]).steps
    assert damaged.arguments == (("(in a form that this release cannot read)", ""),)


def test_durations_are_told_where_something_ends(trail: TrailWriter) -> None:
    """A vote says how long the request was open, a resume how long the run waited."""
    steps = told(trail, trail.refund()).steps
    assert [step.seq for step in steps if step.took is not None] == [5, 6, 8]
    for step in (steps[4], steps[5]):
        assert step.took is not None
        assert timedelta(days=3, hours=2) < step.took < timedelta(days=3, hours=3)


def test_a_lost_answer_is_told(trail: TrailWriter) -> None:
    """A worker that died in mid-call, the reading back by another one, and the zombie's refusal are told."""
    run = trail.open()
    claim, _ = trail.claim(run)
    trail.pass_time(minutes=5)
    taken = trail.resume(run)
    _, again = trail.claim(taken)
    assert again.answer == "verify"
    stale, _ = trail.claim(run, "another refund")
    assert stale.token == run.token
    trail.settle(run, claim)
    steps = told(trail, run).steps
    assert [(step.what, step.tone) for step in steps[1:]] == [
        ("refund: began", Tone.PLAIN),
        ("the run went on", Tone.PLAIN),
        ("refund: outcome unknown, reading back", Tone.WAITING),
        ("refund: refused to a worker that had lost the run", Tone.PLAIN),
        ("refund: a late answer, kept as evidence: done", Tone.PLAIN),
    ]
    assert steps[3].took is not None
    assert steps[3].took > timedelta(minutes=5)


def test_a_rejection_is_told(trail: TrailWriter) -> None:
    """Who said no, why, that a second vote did not count, and that the write was not done."""
    run = trail.open()
    _, claimed = trail.claim(run, verb="approve")
    assert claimed.approval_id is not None
    trail.vote(claimed.approval_id, decision="reject", by="bo", comment="not our invoice")
    trail.vote(claimed.approval_id, by="ana")
    trail.claim(run, verb="approve")
    story = told(trail, run)
    assert [step.what for step in story.steps[2:]] == [
        "refund: rejected",
        "refund: a vote that does not count: the request is closed",
        "refund: not done: a person said no",
    ]
    assert story.steps[2].why == ('"not our invoice"',)
    assert story.people == ("bo@acme.example",)


@pytest.mark.parametrize(
    ("outcome", "what", "tone"),
    [
        (Outcome.NOT_DONE, "refund: certainly not done; worth another try", Tone.BAD),
        (Outcome.FAIL, "refund: certainly not done", Tone.BAD),
        (Outcome.LOSE, "refund: outcome unknown: its answer was lost", Tone.BAD),
        (Outcome.CONTRADICT, "refund: sources disagree about what happened: for a person", Tone.BAD),
    ],
)
def test_an_attempt_that_did_not_succeed_is_told(trail: TrailWriter, outcome: Outcome, what: str, tone: Tone) -> None:
    """Each way an attempt can end otherwise has words of its own and stands out."""
    run = trail.open()
    claim, _ = trail.claim(run)
    trail.settle(run, claim, outcome)
    step = told(trail, run).steps[-1]
    assert (step.what, step.tone) == (what, tone)


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        (
            {"events": ["approval.refused"], "decision": "edit", "person": "ana", "reason": "unknown_request"},
            "a tool: a vote that does not count: there is no such request",
        ),
        (
            {"events": ["delegation.refused"], "person": "bo", "reason": "not_yours"},
            "somebody may not end a delegation: not_yours",
        ),
        (
            {"events": ["delegation.refused"], "person": "bo", "to": "di", "reason": "to_yourself"},
            "a delegation that does not hold: to_yourself",
        ),
        (
            {"events": ["resume.ignored"], "reason": "outside_run"},
            "a resume tried to decide and was ignored: outside_run",
        ),
        (
            {"events": ["resume.ignored"], "tool": "refund", "reason": "foreign_answer"},
            "refund: a resume tried to decide it and was ignored: foreign_answer",
        ),
    ],
)
def test_what_was_tried_is_told(facts: dict[str, object], what: str) -> None:
    """What was refused and ignored has words of its own, also where it is about no request that there is."""
    (step,) = reconstruct([entry_of({"at": 0, "login": "x", **facts}, payload=None)]).steps
    assert (step.what, step.tone) == (what, Tone.BAD)


def test_an_erased_payload_is_told(trail: TrailWriter) -> None:
    """Where the arguments were erased the story says so and goes on."""
    run = trail.refund()
    tamper(trail.database, "UPDATE control.entry SET payload = NULL, salt = NULL WHERE run_id = %s", run.run_id)
    assert told(trail, run).steps[6].arguments == (("(erased)", ""),)


def test_a_wait_is_told_with_its_reason(trail: TrailWriter) -> None:
    """A parked run says what it waits for and when it goes on by itself."""
    run = trail.open()
    trail.release(run, RunState.RETRYING, "retry_later", wake_ms=60_000)
    step = told(trail, run).steps[-1]
    assert step.what == "the run waits and will try again: retry_later"
    assert "goes on by itself at" in dict(step.details)


def test_hostile_text_is_defused(trail: TrailWriter) -> None:
    """Escapes, reversed text and hidden characters in a model's arguments are shown, not obeyed."""
    run = trail.open()
    trail.claim(run, payload=b'{"args": {"note": "\\u001b[2J\\u202egnp.exe\\u200b[red]"}, "before": null}')
    (line,) = timeline(told(trail, run))[1:]
    assert line.arguments == r'note="\u001b[2J<U+202E>gnp.exe<U+200B>[red]"'


@given(st.text(st.characters(max_codepoint=sys.maxunicode)))
def test_printable_text_hides_nothing(text: str) -> None:
    """No text leaves a control, an invisible format, a lone surrogate or a line break in what is printed."""
    shown = printable(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    shown.encode()


def test_what_passes_for_something_else_is_flagged() -> None:
    """A word of mixed alphabets says so on a terminal as it does in the console."""
    assert printable("pay p\u0430ypal") == "pay p\u0430ypal [one word in letters of Cyrillic and Latin]"


def test_a_cut_is_said() -> None:
    """A text too long to show is cut, with the number of characters that are not shown."""
    assert printable("a" * 12, chars_max=5) == "aaaaa… (7 characters more)"


WORDS = ["action.decided", "approval.requested", "run.started", "go", "stored", "read", "granted", "needs_human", "?"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.sampled_from(WORDS) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = [
    "events",
    "at",
    "answer",
    "verb",
    "outcome",
    "person",
    "roles",
    "approval",
    "kind",
    "key",
    "tool",
    "wake_at",
    "who",
    "why",
    "where",
    "reasons",
    "args",
]
OBJECTS = st.dictionaries(st.sampled_from(NAMES), JSON).map(orjson.dumps)


@settings(max_examples=300)
@given(
    facts=(OBJECTS.map(bytes.decode) | st.text()), body=OBJECTS | st.binary(), payload=st.none() | OBJECTS | st.binary()
)
def test_any_row_can_be_told(facts: str, body: bytes, payload: bytes | None) -> None:
    """A damaged row is told as one that cannot be read; nothing raises."""
    row = EntryRow(
        seq=1,
        at=EPOCH,
        tenant="default",
        facts=facts,
        body=body,
        commitment=b"",
        salt=None,
        payload=payload,
        hash=b"",
    )
    assert len(timeline(reconstruct([Entry.of(row)]))) == 1


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(milliseconds=12), "12 ms"),
        (timedelta(seconds=1.25), "1.25 s"),
        (timedelta(minutes=4, seconds=5), "4 min 5 s"),
        (timedelta(hours=3, minutes=59), "3 h 59 min"),
        (timedelta(days=3, hours=2, minutes=40), "3 d 2 h"),
        (timedelta(seconds=-2), "-2.00 s"),
    ],
)
def test_durations_in_words(length: timedelta, text: str) -> None:
    """A duration is told in the two units that matter, also when a clock was set back."""
    assert duration_text(length) == text
