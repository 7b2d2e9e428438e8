"""The policy file's own tests: each is a call that must be decided as it says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import TYPE_CHECKING, Final

from langgraph_control.guards.decisions import Decision, Verb, spoken
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.routing import route
from langgraph_control.guards.signal_fields import given
from langgraph_control.guards.signals import Impact, Risk, Signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langgraph_control.guards.policy import Policy
    from langgraph_control.guards.rules import PolicyTest

__all__ = ["TestFailure", "failures"]

_NO_TIME: Final = datetime.min.replace(tzinfo=UTC)  # no test says anything that time could change


@dataclass(frozen=True, slots=True, kw_only=True)
class TestFailure:
    """An inline test that came out otherwise.

    Args:
        place: the test's place in the file.
        tool: the tool it calls.
        expected: what the test expects.
        got: what the rules decide.
        reasons: why they do.
    """

    __test__ = False  # pytest would take the name for a test class

    place: str
    tool: str
    expected: str
    got: str
    reasons: tuple[str, ...]


def failures(policy: Policy) -> tuple[TestFailure, ...]:
    """Return the policy's own tests that come out otherwise. In ``mode: observe`` they test what is observed.

    Args:
        policy: the policy.
    """
    return tuple(failure for test in policy.tests if (failure := _failure(test, policy)) is not None)


def _failure(test: PolicyTest, policy: Policy) -> TestFailure | None:
    decisions = {about: _enforced(route(signals, policy)) for about, signals in _calls(test)}
    expected = _expected(test)
    for decision in decisions.values():
        got = _got(decision, test)
        if got != expected:
            reasons = (*decision.reasons, *_hint(decisions))
            return TestFailure(place=test.place, tool=test.tool, expected=expected, got=got, reasons=reasons)
    return None


def _enforced(decision: Decision) -> Decision:
    return decision.observed or decision


def _calls(test: PolicyTest) -> Iterator[tuple[tuple[Impact, Kind], Signals]]:
    """A test that names no impact or no effect must come out the same for each."""
    impacts = Impact if test.impact is None else (test.impact,)
    effects = Kind if test.effect is None else (test.effect,)
    for impact, effect in product(impacts, effects):
        call = Signals(
            tool=test.tool,
            impact=impact,
            kind=effect,
            system=test.system,
            arguments=test.arguments,
            record=test.record,
            actor=test.actor,
            on_behalf_of=None,
            tenant=test.tenant,
            now=_NO_TIME,
            environment=test.environment,
            risk=Risk(operation=test.operation),
        )
        yield (impact, effect), given(call, test.known)


def _expected(test: PolicyTest) -> str:
    if test.by is not None:
        return _people(test.by)
    return spoken(test.expect, None, test.to)


def _got(decision: Decision, test: PolicyTest) -> str:
    if decision.requirement is not None and test.by is not None:
        return _people(decision.requirement.quorum)
    return spoken(decision.verb, None, decision.owner if test.to is not None else None)


def _people(quorum: Mapping[str, int]) -> str:
    return "approve by " + ", ".join(f"{count} of {role}" for role, count in sorted(quorum.items()))


def _hint(decisions: Mapping[tuple[Impact, Kind], Decision]) -> tuple[str, ...]:
    hints = []
    for name, part in (("impact", 0), ("effect", 1)):
        for rest in dict.fromkeys(about[1 - part] for about in decisions):
            same_rest = {about[part]: decision for about, decision in decisions.items() if about[1 - part] == rest}
            by_verb: dict[Verb, Impact | Kind] = {decision.verb: about for about, decision in same_rest.items()}
            if len(by_verb) > 1:
                said = ", ".join(f"{about}: {verb}" for verb, about in by_verb.items())
                hints.append(f"the answer depends on the tool's {name} ({said}); name it in the test with {name}")
                break
    return tuple(hints)
