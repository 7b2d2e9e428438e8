"""What an erasure takes away, what it leaves, and what it refuses."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
from psycopg import sql

from langgraph_control.audit.asking.ledger import Answer, Outcome
from langgraph_control.audit.asking.notices import ServeSinks
from langgraph_control.audit.asking.requests import FindApproval, FindTenantChain
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.erasure import Erased, ErasureScope, Selection, _one, erase, retain
from langgraph_control.audit.keeping.requests import HoldLift, Holds, HoldScope, HoldSet
from langgraph_control.audit.postgres.admin_session import AdminConnection
from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.audit.trail.verify import verify_all, verify_run
from langgraph_control.errors import ControlError, DatabaseRefused, OperationRefused
from tests.support.complete_entries import incomplete_entries
from tests.support.postgres import Database
from tests.support.trails import OpenRun, TrailWriter, bytes_of, json_bytes, tamper

WORDS = "dora has a rare disease"
TOLD = b'"This was done."'


@pytest.fixture
def trail(database: Database) -> Iterator[TrailWriter]:
    """A writer of trails, with finance published."""
    with TrailWriter(database) as writer:
        writer.publish()
        yield writer
    assert incomplete_entries(database, "payload", "hold") == []


def told_run(trail: TrailWriter, trigger: str = "ticket/1", *, done: bool = True) -> OpenRun:
    """A run whose arguments, record, result, card and evidence all tell the secret."""
    run = trail.open(trigger)
    tamper(trail.database, "UPDATE control.run SET input = %s WHERE run_id = %s", WORDS.encode(), run.run_id)
    payload = orjson.dumps({"args": {"note": WORDS}, "before": {"note": WORDS}})
    card = orjson.dumps({"what": {"tool": "refund", "arguments": {"note": WORDS}}, "where": {"target": "invoice 17"}})
    request, claimed = trail.claim(run, verb="approve", payload=payload, card=card)
    assert claimed.approval_id is not None
    trail.vote(claimed.approval_id)
    request, claimed = trail.claim(run, verb="approve", payload=payload, card=card)
    assert claimed.answer is Answer.GO
    trail.settle(run, request, result=orjson.dumps(WORDS))
    if done:
        trail.release(run)
    return run


def told_anywhere(database: Database, words: str = WORDS) -> list[str]:
    """Return the columns of schema control in which the words can be read, in whatever form they are stored."""
    found = []
    with psycopg.connect(database.admin, autocommit=True) as connection:
        columns = connection.execute(
            "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE c.relnamespace = 'control'::regnamespace AND c.relkind = 'r' AND attnum > 0 AND NOT attisdropped"
        ).fetchall()
        for table, column in columns:
            hits = connection.execute(
                sql.SQL("SELECT count(*) FROM control.{0} WHERE {1}::text LIKE %s OR {1}::text LIKE %s").format(
                    sql.Identifier(table), sql.Identifier(column)
                ),
                (f"%{words}%", f"%{words.encode().hex()}%"),
            ).fetchone()
            if hits != (0,):
                found.append(f"{table}.{column}")
    return sorted(found)


def erased(database: Database, run: OpenRun, **more: Any) -> Erased:
    """Erase a run."""
    chosen = Selection(scope=ErasureScope.RUN, run_id=run.run_id)
    return erase(database.admin, chosen, comment="asked for by dora", told=TOLD, **more)


def entries(database: Database, run_id: UUID) -> list[dict[str, Any]]:
    """Return the facts of a chain."""
    with LedgerConnection(database.auditor) as auditor:
        return [orjson.loads(row.facts) for row in auditor.entries(run_id)]


def test_nothing_of_what_was_said_is_left_anywhere(trail: TrailWriter) -> None:
    """After the erasure of a run no column of any table holds what its arguments, record and result told."""
    run = told_run(trail)
    assert set(told_anywhere(trail.database)) >= {"action.result", "approval.card", "run.input"}
    done = erased(trail.database, run)
    assert told_anywhere(trail.database) == []
    assert (done.runs, done.counts["payloads"], done.counts["results"], done.counts["cards"]) == (1, 3, 1, 1)


def test_an_edit_a_question_and_evidence_go_too(trail: TrailWriter) -> None:
    """What people changed, what the user was asked and answered, and what the evidence names go with their run."""
    run = told_run(trail)
    rows = ("run_id", run.run_id)
    tamper(
        trail.database,
        "INSERT INTO control.edit (tenant, key, approval_id, asked, became, changes, person, made_at)"
        " SELECT tenant, key, approval_id, digest, digest, jsonb_build_object('note', %s::text), 'ana', now()"
        " FROM control.approval WHERE run_id = %s",
        WORDS,
        rows[1],
    )
    tamper(
        trail.database,
        "INSERT INTO control.question SELECT gen_random_uuid(), 'default', key, run_id, tool, %s, now(), %s, now()"
        " FROM control.action WHERE run_id = %s",
        WORDS,
        WORDS,
        rows[1],
    )
    tamper(trail.database, "UPDATE control.approval_evidence SET reads = jsonb_build_array(%s::text)", WORDS)
    tamper(trail.database, "UPDATE control.approval_evidence SET writes = reads")
    tamper(
        trail.database,
        "INSERT INTO control.span_dead VALUES ('default', 'auditor', 'x', %s, 1, 1, 'span', %s, now())",
        rows[1],
        WORDS,
    )
    tamper(
        trail.database,
        "INSERT INTO control.notice (tenant, role, sink, approval_id, event, mark, at, due_at, error)"
        " SELECT tenant, 'approver', 'x', approval_id, 'requested', '', now(), now(), %s FROM control.approval",
        WORDS,
    )
    done = erased(trail.database, run)
    assert told_anywhere(trail.database) == []
    assert {name: done.counts[name] for name in ("edits", "questions", "evidence", "notices", "spans")} == {
        "spans": 1,
        "edits": 1,
        "questions": 1,
        "evidence": 1,
        "notices": 1,
    }


def test_every_proof_stays_valid_and_says_what_was_erased(trail: TrailWriter) -> None:
    """Chains verify after an erasure as before, with the number of erased payloads."""
    run = told_run(trail)
    erased(trail.database, run)
    with LedgerConnection(trail.database.auditor) as auditor:
        found = verify_run(auditor, run.run_id)
        assert found is not None
        assert (found.ok, found.erased) == (True, 3)
        assert all(one.ok for _, one in verify_all(auditor))


def test_an_erasure_is_on_record_and_tells_nothing(trail: TrailWriter) -> None:
    """The run's chain and the tenant's say who erased how much and why, and nothing of what it was."""
    run = told_run(trail)
    done = erased(trail.database, run)
    with LedgerConnection(trail.database.auditor) as auditor:
        chain = auditor.ask(FindTenantChain()).run_id
    for facts in (entries(trail.database, run.run_id)[-1], entries(trail.database, chain)[-1]):
        assert facts["events"] == ["payload.erased"]
        assert (facts["comment"], facts["erasure"]) == ("asked for by dora", str(done.erasure))
        assert facts["erased"]["payloads"] == 3
        assert facts["person"] == facts["login"]


def test_a_dry_run_counts_and_changes_nothing(trail: TrailWriter) -> None:
    """What a dry run counts is what the erasure then erases, and until then all is there."""
    run = told_run(trail)
    before = told_anywhere(trail.database)
    dry = erased(trail.database, run, dry_run=True)
    assert told_anywhere(trail.database) == before
    assert entries(trail.database, run.run_id)[-1]["events"] == ["run.finished"]
    assert erased(trail.database, run).counts == dry.counts


def test_erased_twice_there_is_nothing_to_erase(trail: TrailWriter) -> None:
    """A repeated erasure erases nothing, and is no entry."""
    run = told_run(trail)
    erased(trail.database, run)
    length = len(entries(trail.database, run.run_id))
    assert erased(trail.database, run).runs == 0
    assert len(entries(trail.database, run.run_id)) == length


def test_a_repeat_of_an_erased_action_is_told_so_and_brings_nothing_back(trail: TrailWriter) -> None:
    """Another run of the intent that asks for the same gets the erased result's note, and its entry has no payload."""
    erased(trail.database, told_run(trail))
    again = trail.open("ticket/2")
    repeat: dict[str, Any] = {"key": bytes_of("ticket/1/refund"), "payload": WORDS.encode()}
    _, claimed = trail.claim(again, verb="approve", **repeat)
    assert (claimed.answer, claimed.reason, claimed.result) == (Answer.STORED, "succeeded", TOLD)
    assert told_anywhere(trail.database) == []


def test_a_repeat_of_an_erased_call_that_people_changed_is_told_so(trail: TrailWriter) -> None:
    """The model's own arguments find the erased action, although what people made of them is gone."""
    run = told_run(trail)
    tamper(
        trail.database,
        "INSERT INTO control.edit (tenant, key, approval_id, asked, became, changes, person, made_at)"
        " SELECT tenant, key, approval_id, %s, args_hash, '{\"note\": \"x\"}', 'ana', now() FROM control.action",
        bytes_of("as the model asked"),
    )
    erased(trail.database, run)
    again = trail.open("ticket/2")
    for asked in ("as the model asked", "refund"):
        changes: dict[str, Any] = {"key": bytes_of("ticket/1/refund"), "args_hash": bytes_of(asked)}
        assert trail.claim(again, verb="approve", **changes)[1].answer is Answer.STORED
    _, other = trail.claim(again, verb="approve", key=bytes_of("ticket/1/refund"), args_hash=bytes_of("something else"))
    assert other.reason == "key_conflict"


def test_what_failed_and_was_erased_may_be_done_anew(trail: TrailWriter) -> None:
    """A failure's text goes, and a new run may try the same: what it stores then is its own."""
    run = trail.open("ticket/1")
    request, _ = trail.claim(run)
    trail.settle(run, request, Outcome.FAIL, error=WORDS)
    trail.release(run)
    erased(trail.database, run)
    assert told_anywhere(trail.database) == []
    again = trail.open("ticket/2")
    request, claimed = trail.claim(again, key=bytes_of("ticket/1/refund"), call_id="call_2")
    assert claimed.answer is Answer.GO
    trail.settle(again, request, result=b'"anew"')
    _, repeat = trail.claim(again, key=bytes_of("ticket/1/refund"), call_id="call_3")
    assert repeat.result == b'"anew"'


def test_a_grant_whose_arguments_are_gone_lets_nothing_run(trail: TrailWriter) -> None:
    """After the erasure of a run that never used its grant, the same change is asked about afresh."""
    run = trail.open("ticket/1")
    _, claimed = trail.claim(run, verb="approve")
    assert claimed.approval_id is not None
    trail.vote(claimed.approval_id)
    tamper(trail.database, "DELETE FROM control.waiter")  # its graph went another way and ended
    trail.release(run)
    erased(trail.database, run)
    again = trail.open("ticket/2")
    other_words: dict[str, Any] = {"key": bytes_of("ticket/1/refund"), "digest": bytes_of("other words")}
    _, anew = trail.claim(again, verb="approve", **other_words)
    assert (anew.answer, anew.reason) == (Answer.PARK, "needs_approval")
    assert anew.approval_id != claimed.approval_id


def test_a_card_does_not_come_back_through_a_repeat(trail: TrailWriter) -> None:
    """A later request for what people said no to does not fill the erased card again."""
    run = trail.open("ticket/1")
    card = orjson.dumps({"what": {"arguments": {"note": WORDS}}})
    _, claimed = trail.claim(run, verb="approve", card=card)
    assert claimed.approval_id is not None
    trail.vote(claimed.approval_id, decision="reject", comment="no")
    trail.claim(run, verb="approve", card=card)
    trail.release(run)
    erased(trail.database, run)
    again = trail.open("ticket/2")
    _, repeat = trail.claim(again, verb="approve", key=bytes_of("ticket/1/refund"), card=card, payload=b"{}")
    assert repeat.reason == "rejected"
    with LedgerConnection(trail.database.auditor) as auditor:
        row = auditor.ask(FindApproval(approval_id=claimed.approval_id))
    assert row is not None
    assert set(orjson.loads(row.card)) == {"what", "erased"}


@pytest.mark.parametrize("scope", ["run", "intent", "action", "target"])
def test_a_run_that_goes_on_is_never_erased(trail: TrailWriter, scope: str) -> None:
    """Whichever way it is named, something of an open run is refused, and nothing is erased."""
    run = told_run(trail, done=False)
    before = told_anywhere(trail.database)
    chosen = {
        "run": Selection(scope=ErasureScope.RUN, run_id=run.run_id),
        "intent": Selection(scope=ErasureScope.INTENT, name="ticket/1"),
        "action": Selection(scope=ErasureScope.ACTION, run_id=run.run_id, key=bytes_of("ticket/1/refund")),
        "target": Selection(scope=ErasureScope.TARGET, name="invoice 17"),
    }[scope]
    with pytest.raises(OperationRefused) as refused:
        erase(trail.database.admin, chosen, comment="because", told=TOLD)
    assert refused.value.code == "open_run"
    assert told_anywhere(trail.database) == before


def test_an_unsettled_action_is_never_erased(trail: TrailWriter) -> None:
    """Where nobody knows what became of an action, its evidence stays until it is settled."""
    run = told_run(trail)
    tamper(trail.database, "UPDATE control.action SET state = 'needs_human'")
    with pytest.raises(OperationRefused) as refused:
        erased(trail.database, run)
    assert refused.value.code == "unsettled"


@pytest.mark.parametrize(("scope", "name"), [("run", ""), ("intent", "ticket/1"), ("target", "invoice 17")])
def test_what_is_held_is_not_erased_until_the_hold_is_lifted(trail: TrailWriter, scope: str, name: str) -> None:
    """A legal hold by run, intent or target stands against an erasure; setting and lifting it are entries."""
    run, hold_id = told_run(trail), uuid4()
    with LedgerConnection(trail.database.admin) as admin:
        hold = HoldSet(
            hold_id=hold_id,
            scope=HoldScope(scope),
            run_id=None if name else run.run_id,
            name=name,
            comment="case 12",
            body=json_bytes(),
        )
        assert admin.ask(hold) is None
        assert admin.ask(hold) is None  # sent again
        with pytest.raises(OperationRefused) as refused:
            erased(trail.database, run)
        assert refused.value.code == "held"
        aged = erase(
            trail.database.admin,
            Selection(scope=ErasureScope.AGE, older=timedelta(0)),
            comment="old",
            told=TOLD,
        )
        assert (aged.runs, aged.left_out) == (0, 1)
        assert [one.hold_id for one in admin.ask(Holds())] == [hold_id]
        assert admin.ask(HoldLift(hold_id=hold_id, comment="case closed", body=json_bytes())) is None
        assert admin.ask(HoldLift(hold_id=hold_id, comment="case closed", body=json_bytes())) == "lifted"
        chain = admin.ask(FindTenantChain()).run_id
    assert [facts["events"] for facts in entries(trail.database, chain)][-2:] == [["hold.set"], ["hold.lifted"]]
    assert erased(trail.database, run).runs == 1


def test_by_age_only_what_is_over_and_old_enough_goes(trail: TrailWriter) -> None:
    """An erasure by age takes the old runs that are done, in as many parts as it needs, and leaves the others."""
    old = [told_run(trail, f"ticket/{number}") for number in range(3)]
    trail.pass_time(days=10)
    told_run(trail, "ticket/new")
    chosen = Selection(scope=ErasureScope.AGE, older=timedelta(days=5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("langgraph_control.audit.keeping.erasure.RUNS_A_PART", 2)
        done = erase(trail.database.admin, chosen, comment="old", told=TOLD)
    assert done.runs == len(old)
    assert told_anywhere(trail.database) != []
    with LedgerConnection(trail.database.auditor) as auditor:
        assert sorted(one.erased for _, one in verify_all(auditor)) == [0, 0, 3, 3, 3]


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_is_named_is_erased_all_or_none_in_however_many_parts(trail: TrailWriter, *, dry_run: bool) -> None:
    """What stands against a later part leaves the earlier ones as they were, too; nothing is on record then."""
    for number in range(3):
        told_run(trail, f"ticket/{number}")
    before = told_anywhere(trail.database)
    chosen = Selection(scope=ErasureScope.TARGET, name="invoice 17")
    parts: list[dict[str, Any]] = []

    def one(connection: AdminConnection, name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        parts.append(_one(connection, name, parameters))
        return parts[-1] if len(parts) < 3 else {**parts[-1], "refused": "held"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("langgraph_control.audit.keeping.erasure.RUNS_A_PART", 1)
        patch.setattr("langgraph_control.audit.keeping.erasure._one", one)
        with pytest.raises(OperationRefused) as refused:
            erase(trail.database.admin, chosen, comment="because", told=TOLD, dry_run=dry_run)
    assert refused.value.code == "held"
    assert [part["runs"] for part in parts] == [1, 1, 1]
    assert told_anywhere(trail.database) == before
    with LedgerConnection(trail.database.auditor) as auditor:
        chain = auditor.ask(FindTenantChain()).run_id
        assert all(found.erased == 0 for _, found in verify_all(auditor))
    assert "payload.erased" not in entries(trail.database, chain)[-1]["events"]


@pytest.mark.parametrize("how", ["erased", "dropped"])
def test_nobody_is_told_that_an_old_grant_is_withdrawn(trail: TrailWriter, how: str) -> None:
    """A grant that its run never used goes with it silently: nobody decided anything."""
    sinks = '[{"sink": "ops", "events": ["requested", "decided", "expired"], "remind_at": 0.5}]'
    run = trail.open("ticket/1")
    _, claimed = trail.claim(run, verb="approve")
    assert claimed.approval_id is not None
    trail.vote(claimed.approval_id)
    tamper(trail.database, "DELETE FROM control.waiter")  # its graph went another way and ended
    trail.release(run)
    trail.pass_time(days=60)
    trail.agent.ask(ServeSinks(sinks=sinks))
    if how == "erased":
        erased(trail.database, run)
    else:
        (month,) = retain(trail.database.admin, timedelta(0), comment="old", told=TOLD)
        assert month.whole_runs == 1
    trail.agent.ask(ServeSinks(sinks=sinks))
    with psycopg.connect(trail.database.admin) as connection:
        assert connection.execute("SELECT state FROM control.approval").fetchall() == [("withdrawn",)]
        assert connection.execute("SELECT event, outcome FROM control.notice").fetchall() == []


def test_one_action_of_a_run_goes_and_the_others_stay(trail: TrailWriter) -> None:
    """By its key an action's arguments and result go from every run of the intent, and from nothing else."""
    run = trail.open("ticket/1")
    for name in ("one", "two"):
        request, _ = trail.claim(run, name, payload=orjson.dumps({"args": name}))
        trail.settle(run, request, result=orjson.dumps(f"result {name}"))
    trail.release(run)
    chosen = Selection(scope=ErasureScope.ACTION, run_id=run.run_id, key=bytes_of("ticket/1/one"))
    done = erase(trail.database.admin, chosen, comment="because", told=TOLD)
    assert done.counts["payloads"] == 1
    assert told_anywhere(trail.database, "result one") == []
    assert told_anywhere(trail.database, "result two") == ["action.result"]


def test_what_names_a_record_goes_by_its_target(trail: TrailWriter) -> None:
    """By target the calls about a record go from all runs, reads among them; calls about others stay."""
    run = told_run(trail)
    other = trail.open("ticket/2")
    body = other.body(target="invoice 18")
    request, _ = trail.claim(other, "other", body=body, payload=orjson.dumps({"args": "kept words"}))
    trail.settle(other, request)
    trail.release(other)
    done = erase(
        trail.database.admin, Selection(scope=ErasureScope.TARGET, name="invoice 17"), comment="because", told=TOLD
    )
    assert (done.runs, done.counts["payloads"]) == (1, 2)
    assert "entry_" in " ".join(told_anywhere(trail.database, "kept words"))
    assert not [where for where in told_anywhere(trail.database) if where != "run.input"]
    assert run.run_id != other.run_id


@pytest.mark.parametrize(
    ("chosen", "code"),
    [
        (Selection(scope=ErasureScope.RUN, run_id=uuid4()), "unknown_run"),
        (Selection(scope=ErasureScope.ACTION, run_id=uuid4(), key=bytes(32)), "unknown_run"),
    ],
)
def test_what_is_not_there_is_not_erased(trail: TrailWriter, chosen: Selection, code: str) -> None:
    """A run or action that does not exist is said so."""
    with pytest.raises(OperationRefused) as refused:
        erase(trail.database.admin, chosen, comment="because", told=TOLD)
    assert refused.value.code == code


def test_an_erasure_needs_a_comment(trail: TrailWriter) -> None:
    """Nobody erases without saying why."""
    with pytest.raises(OperationRefused) as refused:
        erase(trail.database.admin, Selection(scope=ErasureScope.INTENT, name="x"), comment=" ", told=TOLD)
    assert refused.value.code == "comment_missing"


def test_only_an_admin_erases(trail: TrailWriter) -> None:
    """An agent's, approver's or auditor's login erases nothing."""
    run = told_run(trail)
    for dsn in (trail.database.agent, trail.database.auditor, trail.database.approver("ana")):
        with pytest.raises(ControlError) as refused:
            erase(dsn, Selection(scope=ErasureScope.RUN, run_id=run.run_id), comment="because", told=TOLD)
        assert isinstance(refused.value, DatabaseRefused)
    assert told_anywhere(trail.database) != []


def test_an_admin_who_is_no_superuser_erases_with_checkpoints_of_their_own_tenant_only(trail: TrailWriter) -> None:
    """A thread's checkpoints go by LangGraph's saver with the last of its runs; another tenant's of that name stay."""
    add_login(trail.database.admin, "test_plain_admin", role="admin", create=True)
    run = told_run(trail)
    with psycopg.connect(trail.database.admin, autocommit=True) as connection:
        for tenant in ("default", "other"):
            connection.execute(
                "INSERT INTO control_checkpoints.checkpoints"
                " (thread_id, checkpoint_ns, checkpoint_id, checkpoint, tenant) VALUES (%s, '', %s, '{}', %s)",
                (str(run.run_id), tenant, tenant),
            )
    for dsn in (trail.database.dsn("test_plain_admin"), trail.database.admin):
        chosen = Selection(scope=ErasureScope.RUN, run_id=run.run_id)
        done = erase(dsn, chosen, comment="because", told=TOLD, checkpoints=True)
        assert done.threads == 1
    with psycopg.connect(trail.database.admin) as connection:
        left = connection.execute("SELECT tenant FROM control_checkpoints.checkpoints").fetchall()
    assert left == [("other",)]


def test_a_thread_that_another_run_shares_keeps_its_checkpoints(trail: TrailWriter) -> None:
    """A conversation goes with the last of its runs, not with the first."""
    run, second = told_run(trail), told_run(trail, "ticket/2")
    tamper(trail.database, "UPDATE control.run SET thread_id = 'shared'")
    assert (erased(trail.database, run, checkpoints=True).threads, second.run_id != run.run_id) == (0, True)
    assert erased(trail.database, second, checkpoints=True).threads == 1


def test_a_run_that_waits_is_not_old(trail: TrailWriter) -> None:
    """What waits for a person is not over, however long ago it was begun."""
    run = trail.open()
    trail.claim(run, verb="approve")
    trail.release(run, RunState.NEEDS_APPROVAL, "needs_approval")
    chosen = Selection(scope=ErasureScope.AGE, older=timedelta(0))
    assert erase(trail.database.admin, chosen, comment="old", told=TOLD).runs == 0
