"""Operators whom a service recognised: each word is a person's, with how that was found out, on one login for all."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
from langchain.agents import create_agent

from langgraph_control import Control, Policy, Run, writes
from langgraph_control.audit.asking.operator_requests import Resolution, Scope
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.requests import FindTenantChain
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.audit.people.identity import Identity, NotAuthenticated
from langgraph_control.audit.people.operators import Operators
from langgraph_control.audit.people.token_edits import add_token
from langgraph_control.audit.people.token_file import TokenFile, token_hash
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.sentences import sentence
from langgraph_control.errors import OperationRefused
from langgraph_control.guards.run_states import RunState
from tests.support.desk import Desk, new_trigger
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls

POLICY = Policy.parse(
    """\
version: 1
roles: {bank: ["group:treasurers"], support: [cy@acme.example]}
owner: bank
rules:
  - {tool: transfer, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {tool: transfer, when: {amount: {gt: 100, lte: 200}}, then: ask, question: "How much?"}
""",
    source="control.yaml",
)
PEOPLE = {"tess@acme.example": ["treasurers"], "cy@acme.example": [], "eve@acme.example": ["visitors"]}


@pytest.fixture(scope="module")
def desk(shared_database: Database) -> Iterator[Desk]:
    """A desk whose transfers' answers are lost, and whose larger ones wait for an answer."""
    publish_policy(shared_database.admin, POLICY)
    with Control(POLICY, dsn=shared_database.agent) as control:
        yield Desk(database=shared_database, control=control)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The people's tokens by their names, and the file's own under ``file``."""
    path = tmp_path_factory.mktemp("tokens") / "tokens.jsonl"
    made = {person.partition("@")[0]: add_token(path, person, groups=groups) for person, groups in PEOPLE.items()}
    return {**made, "file": str(path)}


@pytest.fixture
def operators(desk: Desk, tokens: dict[str, str]) -> Iterator[Operators]:
    """A service's operators, on a login that may name persons."""
    with Operators(desk.database.local_approver, authenticator=TokenFile(tokens["file"])) as made:
        yield made


def transferring(desk: Desk, amount: str) -> Run:
    """Return a run that transfers, for Dora."""

    @writes(key="order_id", impact="record", system="bank")
    def transfer(order_id: str, amount: Decimal) -> str:
        """Transfer."""
        raise TimeoutError

    asked = call("transfer", order_id="o1", amount=amount, call_id="call_1")
    model = ScriptedModel(script=(calls(asked), "over"))
    graph = desk.control.bind(create_agent(model, desk.control.govern([transfer])), name="transfers")
    return desk.run(graph, trigger=new_trigger(), on_behalf_of="dora@acme.example")


def facts(desk: Desk, run: UUID) -> list[dict[str, Any]]:
    """Return what the entries of a chain say."""
    with LedgerConnection(desk.database.auditor) as auditor:
        return [orjson.loads(entry.facts) for entry in auditor.entries(run)]


def act(operators: Operators, run: Run, what: str, credential: str | None) -> None:
    """Do one of the things operators do."""
    row = operators.run(run.id)
    match what:
        case "resolve":
            (action,) = operators.stuck(row.run_id)
            operators.resolve(row.run_id, action.key, Resolution.DID_NOT, comment="looked", credential=credential)
        case "cancel":
            operators.cancel(row.run_id, comment="not wanted", credential=credential)
        case "answer":
            (question,) = operators.questions(row.run_id)
            operators.answer(row.run_id, question.question_id, "Fifty.", credential=credential)
        case "freeze":
            operators.freeze(Scope.SYSTEM, "bank", comment="moved", credential=credential)
        case _:
            operators.unfreeze(Scope.SYSTEM, "bank", comment="moved", credential=credential)


AMOUNTS = {"resolve": "50", "cancel": "150", "answer": "150", "freeze": "50", "unfreeze": "50"}


def chain(desk: Desk, run: Run, what: str) -> UUID:
    """Return where a word is recorded: with the run, or with what belongs to none."""
    if what in {"freeze", "unfreeze"}:
        with LedgerConnection(desk.database.auditor) as auditor:
            return auditor.ask(FindTenantChain()).run_id
    return run_id(run.id)


@pytest.mark.parametrize("what", AMOUNTS)
def test_each_word_is_on_record_with_who_said_it(
    desk: Desk, operators: Operators, tokens: dict[str, str], what: str
) -> None:
    """Person, issuer, subject, groups and the token's hash are in the entry; the token is in none."""
    run = transferring(desk, AMOUNTS[what])
    if what == "unfreeze":
        act(operators, run, "freeze", tokens["tess"])
    try:
        act(operators, run, what, tokens["tess"])
    finally:
        if what == "freeze":
            act(operators, run, "unfreeze", tokens["tess"])
    said = [fact for fact in facts(desk, chain(desk, run, what)) if fact.get("person") == "tess@acme.example"]
    identity = Identity(
        person="tess@acme.example",
        issuer="file:tokens.jsonl",
        subject="tess@acme.example",
        groups=["treasurers"],
        credential=token_hash(tokens["tess"]),
    )
    assert said
    assert all(fact["roles"] == ["bank"] for fact in said)
    wanted = orjson.loads(identity.canonical())
    assert all(fact["identity"] in (wanted, {k: v for k, v in wanted.items() if v is not None}) for fact in said)
    assert tokens["tess"] not in str(facts(desk, run_id(run.id)))


@pytest.mark.parametrize("what", AMOUNTS)
def test_who_has_no_role_does_nothing(desk: Desk, operators: Operators, tokens: dict[str, str], what: str) -> None:
    """Whom the service recognises but the policy does not know settles, stops and answers nothing; it is on record."""
    run = transferring(desk, AMOUNTS[what])
    before = run.state
    if what == "unfreeze":
        act(operators, run, "freeze", tokens["tess"])
    with pytest.raises(OperationRefused) as refused:
        act(operators, run, what, tokens["eve"])
    assert refused.value.code == "unknown_person"
    if what == "unfreeze":
        act(operators, run, "unfreeze", tokens["tess"])
    assert operators.brakes() == ()
    assert desk.control.get(run.id).state is before
    said = [fact for fact in facts(desk, chain(desk, run, what)) if fact.get("reason") == "unknown_person"]
    assert {(fact["person"], fact["identity"]["subject"]) for fact in said} == {("eve@acme.example",) * 2}


def test_the_groups_are_the_identitys(desk: Desk, operators: Operators, tokens: dict[str, str]) -> None:
    """Owner is who is in the group by the sign-in; a role of another kind does not do."""
    run = transferring(desk, "50")
    with pytest.raises(OperationRefused) as refused:
        act(operators, run, "resolve", tokens["cy"])
    assert refused.value.code == "not_the_owner"
    act(operators, run, "resolve", tokens["tess"])


def test_for_whom_a_run_was_started_answers(desk: Desk, tokens: dict[str, str], operators: Operators) -> None:
    """Dora has no role, but it is her own request that is asked about."""
    dora = add_token(tokens["file"], "dora@acme.example")
    run = transferring(desk, "150")
    act(operators, run, "answer", dora)
    assert operators.questions(run_id(run.id)) == ()
    with pytest.raises(OperationRefused) as refused:
        act(operators, run, "cancel", dora)
    assert refused.value.code == "unknown_person"


@pytest.mark.parametrize("what", AMOUNTS)
def test_a_login_of_one_person_takes_no_identities(desk: Desk, tokens: dict[str, str], what: str) -> None:
    """A recognised person counts on a service's login only; on another one their word is refused and on record."""
    run = transferring(desk, AMOUNTS[what])
    with (
        Operators(desk.database.approver("ana"), authenticator=TokenFile(tokens["file"])) as ana,
        pytest.raises(OperationRefused) as refused,
    ):
        act(ana, run, what, tokens["tess"])
    assert refused.value.code == "not_yourself"
    assert any(fact.get("reason") == "not_yourself" for fact in facts(desk, chain(desk, run, what)))


NO_RUN, NO_KEY, NO_QUESTION = UUID(int=0), bytes(32), UUID(int=1)
ON_NOTHING: dict[str, tuple[Callable[[Operators, UUID, str], Any], str]] = {
    "resolve": (
        lambda says, run, who: says.resolve(run, NO_KEY, Resolution.HAPPENED, comment="seen", credential=who),
        "action.resolution_refused",
    ),
    "cancel": (lambda says, run, who: says.cancel(run, comment="over", credential=who), "run.cancel_refused"),
    "answer": (
        lambda says, run, who: says.answer(run, NO_QUESTION, "Fifty.", credential=who),
        "question.answer_refused",
    ),
}


@pytest.mark.parametrize("word", ON_NOTHING)
def test_a_word_on_a_run_that_there_is_not_is_on_record(
    desk: Desk, operators: Operators, tokens: dict[str, str], word: str
) -> None:
    """Whoever tries names of runs is on record with them, in the tenant's own chain."""
    speak, event = ON_NOTHING[word]
    with pytest.raises(OperationRefused) as refused:
        speak(operators, NO_RUN, tokens["tess"])
    with LedgerConnection(desk.database.auditor) as auditor:
        said = facts(desk, auditor.ask(FindTenantChain()).run_id)[-1]
    assert (refused.value.code, said["events"], said["reason"]) == ("unknown_run", [event], "unknown_run")
    assert (said["person"], said["roles"], said["run"]) == ("tess@acme.example", ["bank"], str(NO_RUN))


@pytest.mark.parametrize(
    ("word", "code"), [("resolve", "unknown_action"), ("answer", "unknown_question"), ("cancel", "finished")]
)
def test_a_word_on_what_a_run_has_not_is_on_record(
    desk: Desk, operators: Operators, tokens: dict[str, str], word: str, code: str
) -> None:
    """An action or a question that the run does not have, and a run that is over: who spoke is in the run's chain."""
    run = run_id(transferring(desk, "150").id)
    if word == "cancel":
        operators.cancel(run, comment="over", credential=tokens["tess"])
    speak, event = ON_NOTHING[word]
    with pytest.raises(OperationRefused) as refused:
        speak(operators, run, tokens["tess"])
    said = facts(desk, run)[-1]
    assert (refused.value.code, said["events"], said["reason"]) == (code, [event], code)
    assert (said["person"], said["roles"]) == ("tess@acme.example", ["bank"])
    assert "key" not in said


def test_a_run_that_cannot_be_cancelled_yet_has_that_on_record(
    desk: Desk, operators: Operators, tokens: dict[str, str]
) -> None:
    """While an outcome is unknown, the word is refused, and who gave it is in the run's chain."""
    run = run_id(transferring(desk, "50").id)
    with pytest.raises(OperationRefused) as refused:
        operators.cancel(run, comment="over", credential=tokens["tess"])
    said = facts(desk, run)[-1]
    assert (refused.value.code, said["events"], said["reason"]) == ("unsettled", ["run.cancel_refused"], "unsettled")
    assert said["person"] == "tess@acme.example"


@pytest.mark.parametrize("credential", [None, "", "lgc_nonsense"])
@pytest.mark.parametrize("what", AMOUNTS)
def test_nothing_is_asked_without_a_sign_in(
    desk: Desk, operators: Operators, what: str, credential: str | None
) -> None:
    """Without a credential that is accepted nothing is asked of the ledger, and it only hears of one that is not."""
    run = transferring(desk, AMOUNTS[what])
    before = len(facts(desk, chain(desk, run, what)))
    with pytest.raises(NotAuthenticated):
        act(operators, run, what, credential)
    since = facts(desk, chain(desk, run, what))[before:]
    assert all(fact["events"] == ["access.refused"] for fact in since)
    assert len(since) <= bool(credential)
    assert desk.control.get(run.id).state in {RunState.NEEDS_HUMAN, RunState.WAITING}


def test_nobody_is_named_beside_a_credential(desk: Desk, operators: Operators, tokens: dict[str, str]) -> None:
    """A credential of one person and the name of another are refused together; the same name does no harm."""
    run = run_id(transferring(desk, "150").id)
    with pytest.raises(NotAuthenticated) as refused:
        operators.cancel(run, comment="no", as_="cy@acme.example", credential=tokens["tess"])
    assert refused.value.code == "person_differs"
    operators.cancel(run, comment="no", as_="tess@acme.example", credential=tokens["tess"])


def test_a_credential_is_not_ignored(desk: Desk, tokens: dict[str, str]) -> None:
    """Where nothing can look at a credential, giving one is an error and not a word of the login's person."""
    run = run_id(transferring(desk, "150").id)
    with Operators(desk.database.approver("ana")) as ana, pytest.raises(NotAuthenticated) as refused:
        ana.cancel(run, comment="no", credential=tokens["tess"])
    assert refused.value.code == "no_authenticator"


@pytest.mark.parametrize("identity", ["[]", "{}", '{"groups": "treasurers"}', '"tess"'])
@pytest.mark.parametrize(
    "words",
    [
        "resolve_v1(%(run)s, sha256(''), 'did_not', NULL, NULL, %(identity)s, 'looked', '{}')",
        "run_cancel_v1(%(run)s, NULL, %(identity)s, 'not wanted', false, '{}')",
        "freeze_v1('tenant', '', NULL, %(identity)s, 'stop', '{}')",
        "unfreeze_v1('tenant', '', NULL, %(identity)s, 'go on', '{}')",
        "answer_v1(%(run)s, %(run)s, 'Fifty.', NULL, %(identity)s, '{}', '{}')",
    ],
    ids=lambda words: words.partition("(")[0],
)
def test_what_is_no_identity_is_refused(desk: Desk, words: str, identity: str) -> None:
    """Not even a service's login acts without saying who vouches for whom, and by what."""
    with psycopg.connect(desk.database.local_approver, autocommit=True) as connection:
        with pytest.raises(psycopg.Error) as refused:
            connection.execute(f"SELECT control.{words}".encode(), {"run": uuid4(), "identity": identity})
        assert refused.value.sqlstate == "LC002"


def test_refused_words_are_told_in_words(desk: Desk, operators: Operators, tokens: dict[str, str]) -> None:
    """A refused cancellation is a sentence in the run's story."""
    run = transferring(desk, "150")
    with pytest.raises(OperationRefused):
        act(operators, run, "cancel", tokens["eve"])
    with LedgerConnection(desk.database.auditor) as auditor:
        last = list(auditor.entries(run_id(run.id)))[-1]
    assert "a person's word that does not count" in sentence(Entry.of(last))[0]
