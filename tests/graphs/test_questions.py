"""What `then: ask` and checks ask: shown with a name, answered from anywhere, told to the model, and no permission."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from langgraph_control import Control, Policy, Run
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.requests import FindRun
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.asking.wakes import FindDue, RunWake, Wake
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import question_id, run_id
from langgraph_control.audit.people.operators import Operators
from langgraph_control.checks import Proposal, Question
from langgraph_control.errors import OperationRefused
from tests.support.desk import Desk, How, told
from tests.support.postgres import Database
from tests.support.scripted_model import call, calls

POLICY = Policy.parse(
    """\
version: 1
roles: {finance: [ana@acme.example]}
owner: finance
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {tool: refund, when: {amount: {eq: 7}}, then: ask, question: Which amount is right?}
""",
    source="control.yaml",
)


@pytest.fixture
def desk(shared_database: Database) -> Callable[..., Any]:
    """Make a desk whose policy asks about refunds of seven, with further checks."""
    publish_policy(shared_database.admin, POLICY)

    @contextmanager
    def made(*checks: Any) -> Iterator[Desk]:
        with Control(POLICY, dsn=shared_database.agent, checks=checks) as control:
            yield Desk(database=shared_database, control=control)

    return made


def asking(desk: Desk, *amounts: str, name: str = "asking") -> Any:
    """Return a bound agent that asks for refunds of one order, one after the other, then ends."""
    asked = [
        calls(call("refund", order_id="o1", amount=amount, call_id=f"call_{place}"))
        for place, amount in enumerate(amounts)
    ]
    return desk.agent(*asked, "done", name=name)


def answer(desk: Desk, run: Run, how: How, text: str = "Fifty.") -> Run:
    """Answer the one question of a run while driving it on."""
    return desk.resume(run, how, dict.fromkeys(run.questions, text))


def entries(desk: Desk, run: Run) -> list[tuple[list[str], dict[str, Any], bytes | None]]:
    """Return events, body and payload of each entry."""
    with LedgerConnection(desk.database.auditor) as auditor:
        return [
            (orjson.loads(entry.facts)["events"], orjson.loads(entry.body), entry.payload)
            for entry in auditor.entries(run_id(run.id))
        ]


def test_a_question_has_a_name_and_a_next_step(desk: Any, how: How, trigger: str) -> None:
    """A run that waits for an answer shows the question under a name, and the command that answers it."""
    with desk() as one:
        run = one.run(asking(one, "7"), how, trigger=trigger)
        (name,) = run.questions
        assert (run.state, run.reason, run.questions[name]) == (RunState.WAITING, "ask", "Which amount is right?")
        assert run.next_step == f'langgraph-control answer {run.id} {name} "…"'
        assert one.control.get(run.id).questions == run.questions


def test_who_has_answered_is_not_asked_again(desk: Any, trigger: str) -> None:
    """Between the answer and the next drive the run is whose drives runs; woken for anything else, it still asks."""
    with desk() as one:
        run = one.run(asking(one, "7", "50"), trigger=trigger)
        (name,) = run.questions

        def seen() -> tuple[str, str]:
            with LedgerConnection(one.database.auditor) as auditor:
                row = auditor.ask(FindRun(run_id=run_id(run.id)))
            assert row is not None
            return row.owner, row.next_step

        asked = seen()
        assert f"langgraph-control answer {run.id}" in asked[1]
        with LedgerConnection(one.database.agent) as agent:
            assert agent.ask(RunWake(run_id=run_id(run.id))).answer is Wake.WOKEN
        assert seen() == asked
        one.control.answer(run.id, {name: "Fifty."})
        assert seen() == ("workers", f"langgraph-control resume {run.id}")


def test_an_answer_reaches_the_model_and_a_call_that_follows_from_it_goes(desk: Any, how: How, trigger: str) -> None:
    """The call that was asked about is not done; the model reads question and answer, and its next call runs."""
    with desk() as one:
        run = answer(one, one.run(asking(one, "7", "50"), how, trigger=trigger), how)
        assert (run.state, run.questions, one.done) == (RunState.DONE, {}, ["o1:50"])
        first, second = told(run)
    assert first.startswith('refund was not done. The user was asked: "Which amount is right?" and answered: "Fifty."')
    assert second == "refunded 50"


def test_an_answer_lets_no_write_run(desk: Any, how: How, trigger: str) -> None:
    """Whatever it says, the same call is refused with that answer, however often it is made; nobody is asked again."""
    with desk() as one:
        graph = asking(one, "7", "7", "7")
        run = answer(one, one.run(graph, how, trigger=trigger), how, "Yes! Approved: pay the seven.")
        assert (run.state, one.done) == (RunState.DONE, [])
        # The third time the model is told as well that it goes in circles.
        assert len({one.partition("\n\n[")[0] for one in told(run)}) == 1
        events = [event for names, _, _ in entries(one, run) for event in names]
    assert events.count("question.answered") == 1
    assert "action.attempt_started" not in events


def test_the_record_has_question_and_answer(desk: Any, how: How, trigger: str) -> None:
    """The question is in the decision's entry; the answer is in a payload, which can be erased, and in no reason."""
    with desk() as one:
        asked = one.run(asking(one, "7", "50"), how, trigger=trigger)
        run = answer(one, asked, how, "Fifty, says Cy.")
        told_of = entries(one, run)
        (name,) = asked.questions
    (decided,) = [body for _, body, _ in told_of if "question" in body]
    assert (decided["question"], decided["question_id"]) == ("Which amount is right?", name)
    assert [events for events, _, payload in told_of if payload and b"says Cy" in payload] == [["question.answered"]]
    assert not any(b"says Cy" in orjson.dumps(body) for _, body, _ in told_of)


def test_an_answer_from_another_process_wakes_the_run(desk: Any, how: How, trigger: str) -> None:
    """A process without the graph keeps the answer; the run is due from then on, and goes on with it."""
    with desk() as one, Control(POLICY, dsn=one.database.agent) as elsewhere:
        run = one.run(asking(one, "7", "50"), how, trigger=trigger)
        (name,) = run.questions
        if how == "sync":
            after = elsewhere.answer(run.id, {name: "Fifty."})
        else:
            after = asyncio.run(elsewhere.aanswer(run.id, {name: "Fifty."}))
        assert (after.state, after.questions) == (RunState.WAITING, {})
        due = FindDue(graphs=["asking"], run_ids=None, ahead_ms=0, hold_ms=1000, limit=1000, others=True)
        assert run_id(run.id) in {one.run_id for one in elsewhere._ledger.store().call(due)}
        assert one.resume(run, how).state is RunState.DONE
        assert one.done == ["o1:50"]


def test_a_person_answers_on_their_own_login(desk: Any, trigger: str) -> None:
    """An approver sees what is asked, answers, and is on record with their name."""
    with desk() as one:
        run = one.run(asking(one, "7", "50"), trigger=trigger)
        (name,) = run.questions
        with Operators(one.database.approver("ana")) as ana:
            (shown,) = ana.questions(run_id(run.id))
            ana.answer(shown.run_id, shown.question_id, "Fifty.")
            assert ana.questions(run_id(run.id)) == ()
            ana.answer(shown.run_id, shown.question_id, "Fifty.")  # sent again
            with pytest.raises(OperationRefused) as second:
                ana.answer(shown.run_id, shown.question_id, "Sixty.")
        assert (second.value.code, shown.question_id) == ("answered", question_id(name))
        assert one.resume(run).state is RunState.DONE
        with LedgerConnection(one.database.auditor) as auditor:
            facts = [orjson.loads(entry.facts) for entry in auditor.entries(run_id(run.id))]
    assert [fact["person"] for fact in facts if fact["events"] == ["question.answered"]] == ["ana@acme.example"]


def test_what_a_check_asks_is_asked_once_however_it_is_worded(desk: Any, how: How, trigger: str) -> None:
    """A check that words its question anew with every call gets the answer that was given to the first one."""
    worded = iter(range(100))

    def wondering(proposal: Proposal) -> Question | None:
        return Question(text=f"Really, {next(worded)}?") if str(proposal.arguments["amount"]) == "20" else None

    with desk(wondering) as one:
        run = one.run(asking(one, "20", "20", "50"), how, trigger=trigger)
        assert run.reason == "ask"
        run = answer(one, run, how, "No, fifty.")
        assert (run.state, one.done) == (RunState.DONE, ["o1:50"])
        first, second, _ = told(run)
    assert first == second
    assert 'answered: "No, fifty."' in first


def test_an_answer_while_the_run_is_being_parked_is_not_lost(desk: Any, how: How, trigger: str) -> None:
    """Between the question and the parked run an answer may come: the run is driven once more."""
    with desk() as one:
        store = one.control._ledger.store()
        original = (store.call, store.acall)
        answered: list[str] = []

        def answer_now(request: Any) -> None:
            if request.statement == "ask" and not answered:
                answered.append("yes")
                with Operators(one.database.approver("ana")) as ana:
                    ana.answer(request.run_id, request.question_id, "Fifty.")

        def sync(request: Any, **options: Any) -> Any:
            given = original[0](request, **options)
            answer_now(request)
            return given

        async def concurrent(request: Any, **options: Any) -> Any:
            given = await original[1](request, **options)
            await asyncio.to_thread(answer_now, request)
            return given

        store.call, store.acall = sync, concurrent
        run = one.run(asking(one, "7", "50"), how, trigger=trigger)
    assert (run.state, one.done) == (RunState.DONE, ["o1:50"])


def test_two_runs_of_one_request_share_the_answer(desk: Any, how: How, trigger: str) -> None:
    """What is asked by two runs of one intent is one question: its answer wakes both."""
    with desk() as one:
        first = one.run(asking(one, "7", name="first"), how, trigger=trigger)
        second = one.run(asking(one, "7", name="second"), how, trigger=f"{trigger}/2", intent=trigger)
        assert first.questions == second.questions
        assert answer(one, first, how).state is RunState.DONE
        assert one.resume(second, how).state is RunState.DONE


@pytest.mark.parametrize(
    ("text", "code"), [(" ", "answer_invalid"), (7, "answer_invalid"), ("x" * 10_001, "answer_invalid")]
)
def test_what_is_no_answer_is_refused(desk: Any, trigger: str, text: Any, code: str) -> None:
    """Blank, too long or no text at all: it is refused, and the question stays open."""
    with desk() as one:
        run = one.run(asking(one, "7"), trigger=trigger)
        with pytest.raises(OperationRefused) as refused:
            answer(one, run, "sync", text)
        assert refused.value.code == code
        assert one.control.get(run.id).questions == run.questions


def test_an_unknown_question_is_refused(desk: Any, trigger: str) -> None:
    """Neither another run's question nor one that is none can be answered under this run; nor is one answered twice."""
    with desk() as one:
        run = one.run(asking(one, "7"), trigger=trigger)
        other = one.run(asking(one, "7", name="other"), trigger=f"{trigger}/2")
        for name, code in (("qst_" + "0" * 32, "unknown_question"), (next(iter(other.questions)), "unknown_question")):
            with pytest.raises(OperationRefused) as refused:
                one.control.answer(run.id, {name: "Fifty."})
            assert refused.value.code == code
        with pytest.raises(OperationRefused) as own:
            one.control.answer(run.id, {"3f9a": "Fifty."})
        assert own.value.code == "question_name_invalid"
