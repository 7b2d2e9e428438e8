"""What people say to the ledger and it cannot keep: refused by name before anything is sent, whatever the verb."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import UUID

import psycopg
import pytest

from langgraph_control import Approvals
from langgraph_control.audit.asking.operator_requests import Resolution, Scope
from langgraph_control.audit.asking.requests import Vote
from langgraph_control.audit.asking.rows import ApprovalState
from langgraph_control.audit.asking.searching import Search, writes_found
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.keeping.erasure import ErasureScope, Selection, erase, retain
from langgraph_control.audit.keeping.restored import declare_restored
from langgraph_control.audit.people.approvals import DecidedState
from langgraph_control.audit.people.operators import Operators
from langgraph_control.errors import ApprovalRefused, ArgumentError, ControlError, OperationRefused, RequestRefused
from langgraph_control.guards.spoken_texts import COMMENT_CHARS_MAX
from tests.support.desk import Desk, How
from tests.support.postgres import Database

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
"""No server: whatever is sent to it fails otherwise."""

REQUEST, DELEGATION, RUN = f"apr_{'0' * 32}", UUID(int=0), UUID(int=0)
TOMORROW = datetime.now(UTC) + timedelta(days=1)
UNFIT = {"NUL": "s\x00s", "half a pair": "s\ud800s", "no text": b"ss"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One thing that people can do.

    Args:
        name: of the method.
        given: what it takes in any case, by place.
        options: and by name.
        comment: it takes one.
        alike: further fields that are names, and how long they may be.
    """

    name: str
    given: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    comment: bool = True
    alike: Mapping[str, int] = field(default_factory=dict)

    def cases(self) -> list[tuple[str, Any, str]]:
        """Return each field with each value that it does not take, and the code it is refused with."""
        comments = {"comment": COMMENT_CHARS_MAX} if self.comment else {}
        names = {"as_": 256, **self.alike}
        return [
            *((one, "s" * (most + 1), "comment_too_long") for one, most in comments.items()),
            *((one, "s" * (most + 1), "name_too_long") for one, most in names.items()),
            *((one, value, "text_invalid") for one in (*comments, *names) for value in UNFIT.values()),
        ]


SAID = [
    Verb(name="approve", given=(REQUEST,)),
    Verb(name="reject", given=(REQUEST,)),
    Verb(name="break_glass", given=(REQUEST,)),
    Verb(name="withdraw", given=(REQUEST,)),
    Verb(name="edit", given=(REQUEST, {"amount": 1})),
    Verb(name="delegate", options={"to": "zoe", "until": TOMORROW}, alike={"to": 256, "role": 256}),
    Verb(name="revoke", given=(DELEGATION,)),
    Verb(name="review", given=(REQUEST, "accepted")),
    Verb(name="inbox", options={"mine": True}, comment=False, alike={"tool": 1024, "actor": 1024}),
    Verb(name="get", given=(REQUEST,), comment=False),
]
DONE = [
    Verb(name="resolve", given=(RUN, bytes(32), Resolution.GIVE_UP)),
    Verb(name="cancel", given=(RUN,)),
    Verb(name="freeze", given=(Scope.TOOL,), options={"name": "refund"}, alike={"name": 512}),
    Verb(name="unfreeze", given=(Scope.TOOL,), options={"name": "refund"}, alike={"name": 512}),
    Verb(name="accept_restore"),
    Verb(name="answer", given=(RUN, RUN, "yes"), comment=False),
]


def refused(error: ControlError, code: str, at: str) -> None:
    """Check that an error names the field and what to do, and repeats nothing of what was said."""
    assert isinstance(error, ArgumentError)
    assert (error.code, error.what.partition(":")[0]) == (code, at)
    assert error.safe
    assert error.todo
    assert "ss" not in error.what.removeprefix(at)
    assert str(error).isprintable()


def says(approvals: Approvals, verb: str, how: How, *given: Any, **options: Any) -> Any:
    """Say something, in one of the two ways."""
    if how == "sync":
        return getattr(approvals, verb)(*given, **options)
    return asyncio.run(getattr(approvals, f"a{verb}")(*given, **options))


@pytest.mark.parametrize("verb", SAID, ids=lambda verb: verb.name)
def test_a_word_that_cannot_be_kept_is_not_sent(verb: Verb, how: How) -> None:
    """Too long a comment or name, a NUL, half a surrogate pair, no text: each is named, for every verb of approvers."""
    with Approvals(NOWHERE) as approvals:
        for at, value, code in verb.cases():
            with pytest.raises(ControlError) as raised:
                says(approvals, verb.name, how, *verb.given, **{**verb.options, at: value})
            refused(raised.value, code, at)


@pytest.mark.parametrize("verb", DONE, ids=lambda verb: verb.name)
def test_an_operators_word_that_cannot_be_kept_is_not_sent(verb: Verb) -> None:
    """Likewise for every verb of operators."""
    given = {"comment": "because"} if verb.comment else {}
    with Operators(NOWHERE) as operators:
        for at, value, code in verb.cases():
            with pytest.raises(ControlError) as raised:
                getattr(operators, verb.name)(*verb.given, **{**given, **verb.options, at: value})
            refused(raised.value, code, at)


MISFITS: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("approve", (REQUEST,), {"coment": "because"}, "option_unknown"),
    ("reject", (REQUEST,), {"code": ["wrong_amount"]}, "unknown_code"),
    ("inbox", (), {"tol": "refund"}, "option_unknown"),
    ("decided", (), {"mine": True}, "option_unknown"),
    ("decided", (), {"state": ["used"]}, "unknown_state"),
    *(
        (listing, (limit,), {}, "limit_invalid")
        for listing in ("inbox", "decided", "reviews")
        for limit in ("x", 0, True, 10**7)
    ),
    ("edit", (REQUEST, ["amount"]), {}, "edit_empty"),
    ("edit", (REQUEST, {}), {}, "edit_empty"),
    ("edit", (REQUEST, {5: 1}), {}, "edit_empty"),
    ("delegate", ("zoe",), {"until": "tomorrow"}, "until_naive"),
    ("revoke", ("the last one",), {}, "delegation_invalid"),
    ("review", (REQUEST, "fine"), {}, "unknown_verdict"),
]


@pytest.mark.parametrize(("verb", "given", "options", "code"), MISFITS)
def test_what_a_verb_does_not_take_is_not_sent(
    verb: str, given: tuple[Any, ...], options: dict[str, Any], code: str, how: How
) -> None:
    """A misspelt option would be a yes without its reason; what is of another kind is named, and never a bare error."""
    with Approvals(NOWHERE) as approvals, pytest.raises(ArgumentError) as raised:
        says(approvals, verb, how, *given, **options)
    assert raised.value.code == code


def test_the_states_are_those_of_the_ledger() -> None:
    """A state that comes to be is not left out of what a caller may ask for."""
    assert {*get_args(DecidedState)} == {*ApprovalState} - {ApprovalState.OPEN}


def test_an_authenticator_that_recognises_nobody_is_refused() -> None:
    """At once, and not when the first credential comes."""
    nobody: Any = object()
    for people in (Approvals, Operators):
        with pytest.raises(ArgumentError, match="authenticate") as raised:
            people(NOWHERE, authenticator=nobody)
        assert raised.value.code == "authenticator_invalid"


@pytest.mark.parametrize("changes", [{"amount": "1\x00"}, {"a\x00": 1}, {"amount": [{"b": "\x00"}]}])
def test_an_edit_that_cannot_be_kept_is_not_sent(changes: dict[str, Any], how: How) -> None:
    """A NUL in what an edit says, however deep, is refused by name."""
    with Approvals(NOWHERE) as approvals, pytest.raises(ControlError) as raised:
        says(approvals, "edit", how, REQUEST, changes)
    refused(raised.value, "text_invalid", "changes")


def test_an_edit_of_half_a_character_is_not_sent(how: How) -> None:
    """Half a surrogate pair is no canonical value, as it is in a call's arguments."""
    with Approvals(NOWHERE) as approvals, pytest.raises(ArgumentError, match="changes") as raised:
        says(approvals, "edit", how, REQUEST, {"amount": "1\ud800"})
    assert raised.value.code == "arguments_not_canonical"


@pytest.mark.parametrize("to", ["", "   ", "a\u202eb", "group:leads", " GROUP:leads"])
def test_nobody_stands_in_under_a_name_that_nobody_has(to: str, how: How) -> None:
    """Blank, unprintable, or a group's: nobody signs in as such, so the delegation would be one to nobody."""
    with Approvals(NOWHERE) as approvals, pytest.raises(ArgumentError) as raised:
        says(approvals, "delegate", how, to, until=TOMORROW)
    assert raised.value.code == "no_stand_in"


@pytest.mark.parametrize("name", ["s\x00s", "s\ud800s", "s" * 1025], ids=["NUL", "half a pair", "long"])
def test_a_run_that_cannot_be_named_so_is_not_looked_up(name: str) -> None:
    """A run's name or trigger that no run can have is refused by its kind."""
    with Operators(NOWHERE) as operators, pytest.raises(ArgumentError, match="run: a text"):
        operators.run(name)


@pytest.mark.parametrize("answer", ["s\x00s", "s\ud800s"])
def test_an_answer_that_cannot_be_kept_is_not_sent(answer: str) -> None:
    """An answer to the model is a text that the record can keep."""
    with Operators(NOWHERE) as operators, pytest.raises(OperationRefused) as raised:
        operators.answer(RUN, RUN, answer)
    assert raised.value.code == "answer_invalid"


@pytest.mark.parametrize(
    ("comment", "code"),
    [("s" * 10_001, "comment_too_long"), ("s\x00s", "text_invalid"), ("s\ud800s", "text_invalid")],
    ids=["long", "NUL", "half a pair"],
)
def test_an_admins_word_that_cannot_be_kept_is_not_sent(comment: str, code: str) -> None:
    """Erasing, dropping and declaring a restore take the comments that everything else takes."""
    chosen = Selection(scope=ErasureScope.INTENT, name="i")
    for act in (
        lambda: erase(NOWHERE, chosen, comment=comment, told=b"x"),
        lambda: list(retain(NOWHERE, timedelta(days=1), comment=comment, told=b"x")),
        lambda: declare_restored(NOWHERE, comment=comment),
    ):
        with pytest.raises(ControlError) as raised:
            act()
        refused(raised.value, code, "comment")


@pytest.mark.parametrize(
    ("name", "code"),
    [("", "name_missing"), ("s" * 1025, "name_too_long"), ("s\x00s", "text_invalid")],
    ids=["empty", "long", "NUL"],
)
@pytest.mark.parametrize("scope", [ErasureScope.INTENT, ErasureScope.TARGET])
def test_what_is_erased_has_a_name_that_there_can_be(scope: ErasureScope, name: str, code: str) -> None:
    """An intent or a record that is to be erased is named, or nothing is sent."""
    with pytest.raises(ControlError) as raised:
        erase(NOWHERE, Selection(scope=scope, name=name), comment="because", told=b"x")
    refused(raised.value, code, scope)


@pytest.mark.parametrize("at", ["actor", "record", "tool", "approver"])
def test_what_is_searched_for_is_a_text(database: Database, at: str) -> None:
    """A search for what can be on no record says so."""
    with LedgerConnection(database.auditor) as auditor:
        for value in ("s\x00s", "s\ud800s", "s" * 1025):
            asked: dict[str, Any] = {at: value}
            with pytest.raises(ArgumentError, match=f"{at}: a text"):
                list(writes_found(auditor, Search(**asked)))


def test_the_longest_that_is_taken_here_is_taken_by_the_ledger(desk: Desk, trigger: str) -> None:
    """The limits are the ledger's: what just fits, of characters that take most room, is refused by no function."""
    (name,) = desk.run(desk.refunding(500), trigger=trigger).approvals
    for comment in ("\x01" * COMMENT_CHARS_MAX, "😀" * COMMENT_CHARS_MAX):
        with Approvals(desk.database.approver("ana")) as ana, Operators(desk.database.approver("ana")) as operators:
            ana.approve(name, comment=comment)
            ana.withdraw(name, comment=comment)
            ana.edit(name, {"amount": "😀" * 1000}, comment=comment)
            ana.revoke(ana.delegate("z" * 256, until=TOMORROW, comment=comment), comment=comment)
            operators.freeze(Scope.TOOL, "z" * 512, comment=comment)
            operators.unfreeze(Scope.TOOL, "z" * 512, comment=comment)
            for word in (ana.break_glass, lambda name, **said: ana.review(name, "accepted", **said)):
                with pytest.raises(ApprovalRefused):
                    word(name, comment=comment)
            with pytest.raises(OperationRefused):
                operators.accept_restore(comment=comment)
        chosen = Selection(scope=ErasureScope.TARGET, name="z" * 1024)
        erase(desk.database.admin, chosen, comment=comment, told=b"x", dry_run=True)
        list(retain(desk.database.admin, timedelta(days=1), comment=comment, told=b"x", dry_run=True))


def test_a_refusal_of_the_ledger_is_a_named_error(desk: Desk, how: How) -> None:
    """What gets past every check, and the ledger's function refuses, is a ControlError with a code on every way."""
    vote = Vote(
        approval_id=UUID(int=0), decision="approve", code=None, comment="s" * 10_001, person=None, identity=None,
        body=b"{}",
    )  # fmt: skip
    store = Store(desk.database.approver("ana"))
    with pytest.raises(RequestRefused, match="LC002") as raised:
        store.call(vote) if how == "sync" else asyncio.run(store.acall(vote))
    store.close()
    with LedgerConnection(desk.database.approver("ana")) as connection, pytest.raises(RequestRefused) as asked:
        connection.ask(vote)
    assert (raised.value.code, asked.value.code) == ("request_refused", "request_refused")
    selection = Selection(scope=ErasureScope.INTENT, name="i")
    with pytest.raises(RequestRefused):
        erase(desk.database.admin, selection, comment="because", told=b"")


@pytest.mark.parametrize("to", [" ", "group:leads", " Group:leads"])
def test_the_ledger_keeps_no_delegation_to_nobody(desk: Desk, to: str) -> None:
    """Nor does who calls the ledger's function let nobody stand in."""
    asked = "SELECT control.delegate_v1(gen_random_uuid(), %s, NULL, now() + interval '1 day', NULL, NULL, NULL, '{}')"
    with psycopg.connect(desk.database.approver("ana")) as ana, pytest.raises(psycopg.Error, match="cannot be one"):
        ana.execute(asked, (to,))
