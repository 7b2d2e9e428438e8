"""Between a send and its settle nothing that is computed can raise: whatever came back, the attempt is settled."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from langgraph_control.nodes.action import NotDone
from langgraph_control.nodes.contracts import writes
from tests.nodes.test_hook_answers import HOWS, Parked, ended, noted, stepped
from tests.support.entered_run import EnteredRun, entered_run
from tests.support.postgres import Database

MEET = """\
version: 1
roles: {finance: [ana@acme.example]}
owner: finance
retries: {billing: {base: 50s}, note: {cap: 1s}}
rules:
  - {impact: record, then: allow}
"""


def raises(error: BaseException) -> Callable[..., Any]:
    """Return a body that raises."""

    def body(**_: Any) -> Any:
        raise error

    return body


@pytest.fixture
def run_between(shared_database: Database) -> Iterator[EnteredRun]:
    """A run whose tool has a cap that is shorter than its system's base."""
    with entered_run(shared_database, policy=MEET) as entered:
        yield entered


def test_a_cap_under_the_systems_base_settles_every_attempt(run_between: EnteredRun) -> None:
    """A tool's short cap holds over its system's long base: what failed is settled and tried again within the cap."""
    contract = writes(key=(), impact="record", system="billing")
    with pytest.raises(Parked):
        stepped(run_between, contract, raises(httpx.ConnectError("refused")))
    ((_, state, attempts),) = run_between.actions()
    pauses = [facts.get("pause_ms", 0) for facts, body in run_between.entries() if body.get("sent") == "no"]
    assert (state in {"ready", "needs_human"}, len(pauses)) == (True, attempts)
    assert all(0 <= pause <= 1000 for pause in pauses)


def nested(depth: int) -> BaseException:
    """A group in a group, as deep as said."""
    errors: list[Exception] = [httpx.ConnectError("refused")]
    for _ in range(depth):
        errors = [ExceptionGroup("tasks", errors)]
    return errors[0]


class NoHash(type):
    """Classes that no table can be asked about."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(cls, other: object) -> bool:
        return False


class UnhashableError(Exception, metaclass=NoHash):
    """Its class is in no set."""


class Nameless(type):
    """Classes that do not tell their names."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError


class NamelessError(Exception, metaclass=Nameless):
    """Nobody knows what it is called."""


class ShyError(Exception):
    """It does not say what it is."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            raise RuntimeError
        return super().__getattribute__(name)


class CauselessError(httpx.ConnectError):
    """It fails over the question what caused it."""

    @property
    def __cause__(self) -> BaseException | None:  # type: ignore[override]
        raise RuntimeError


# Made by the tests: pytest looks at what is given to it.
STRANGE: dict[str, Callable[[], BaseException]] = {
    "a deep group": lambda: nested(5_000),
    "an unhashable class": lambda: UnhashableError("no"),
    "a nameless class": lambda: NamelessError("no"),
    "a long name": lambda: type("E" * 300_000, (Exception,), {})("no"),
    "a shy error": lambda: ShyError("no"),
    "no cause": lambda: CauselessError("refused"),
}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("strange", STRANGE)
def test_an_exception_that_cannot_be_judged_is_settled(how: str, strange: str, run: EnteredRun) -> None:
    """An error that fails over being looked at proves nothing, and its attempt is settled as of unknown outcome."""
    sent: list[int] = []

    def body(**_: Any) -> str:
        sent.append(1)
        if len(sent) == 1:
            error = STRANGE[strange]()
            raise error
        return "noted"

    contract = writes(
        key=(),
        impact="record",
        find=lambda _: "noted",
        visible_within=0.001,
        refusals={LookupError: "permanent"},
    )
    assert ended(how, run, body, contract).value == "noted"
    assert run.actions() == [("note", "succeeded", 1)]


class Unbound:
    """A proxy for nothing, as web frameworks have them: whatever it is asked, it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("outside of any request")

    def __len__(self) -> int:
        raise RuntimeError("outside of any request")


class Uncountable(list[str]):
    """An answer that fails over its length."""

    def __len__(self) -> int:
        raise RuntimeError("the connection is closed")


class Unkept(NotDone):
    """An answer that fails over what it says."""

    def __getattribute__(self, name: str) -> Any:
        if name in {"reason", "transient"}:
            raise RuntimeError(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("answer", [Unbound, lambda: Unkept(reason="no")], ids=["unbound", "unkept"])
def test_an_outcome_that_cannot_be_looked_at_is_unknown(how: str, answer: Callable[[], Any], run: EnteredRun) -> None:
    """What an outcome hook answers may raise at every touch: the attempt is settled, and looked up."""
    contract = writes(
        key=(), impact="record", outcome=lambda _: answer(), find=lambda _: "it is there", visible_within=0.001
    )
    assert ended(how, run, noted, contract).value == "it is there"
    assert run.actions() == [("note", "succeeded", 1)]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("found", [Unbound, lambda: Uncountable(["noted"])], ids=["unbound", "uncountable"])
def test_a_find_that_cannot_be_looked_at_confirms_nothing(how: str, found: Callable[[], Any], run: EnteredRun) -> None:
    """A finished write whose read-back raises at every touch has succeeded, unconfirmed."""
    contract = writes(key=(), impact="record", find=lambda _: found(), visible_within=0.001)
    assert ended(how, run, noted, contract).value == "noted"
    assert run.actions() == [("note", "succeeded", 1)]
    assert not {"effect.verified", "effect.mismatch"} & set(run.events())


class Stop(BaseException):
    """What a library ends a task with that is no error and no cancellation."""


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    "stop", [SystemExit(3), Stop(), BaseExceptionGroup("tasks", [Stop()])], ids=["exit", "stop", "group"]
)
def test_what_stops_a_body_is_raised_once_it_is_settled(how: str, stop: BaseException, run: EnteredRun) -> None:
    """A body that ends with what is no Exception leaves an attempt of unknown outcome behind, not one in hand."""
    with pytest.raises(type(stop)):
        ended(how, run, raises(stop), writes(key=(), impact="record"))
    assert run.actions() == [("note", "needs_human", 1)]


@pytest.mark.parametrize("how", HOWS)
def test_what_stops_an_outcome_hook_is_raised_once_it_is_settled(how: str, run: EnteredRun) -> None:
    """An outcome hook that ends with what is no Exception cannot tell, and the attempt is settled first."""

    async def hook(_: Any) -> Any:
        raise Stop

    with pytest.raises(Stop):
        ended(how, run, noted, writes(key=(), impact="record", outcome=hook))
    assert run.actions() == [("note", "needs_human", 1)]
