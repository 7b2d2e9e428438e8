"""The policy: rules that people write in a file, and what the file says about itself."""

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from langgraph_control.errors import PolicyError
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.policy_reader import MONEY_NEEDS_BOUNDS, read_policy
from langgraph_control.guards.policy_text import Problem
from langgraph_control.guards.routing import Decision, route
from langgraph_control.guards.rules import ApprovalDefaults, PolicyTest, Rule, Then
from langgraph_control.guards.signals import Impact, Signals

__all__ = ["Policy", "TestFailure"]

_LISTED_PROBLEMS: Final = 50


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy file that was read and found correct. Build one with :meth:`parse`.

    Args:
        text: the file's canonical text: no byte order mark, line feeds, NFC.
        hash: SHA-256 of the canonical text's UTF-8 bytes, in hex.
        source: the file's name.
        roles: role → its members: people, or ``group:<name>``.
        owner: the role that settles what nobody else is named for, None where the file names none.
        approve: the defaults of rules that ask people.
        rules: the rules in the file's order; the order decides nothing.
        otherwise: the rules for calls that no rule matches.
        tests: the file's own tests.
    """

    text: str
    hash: str
    source: str
    roles: Mapping[str, tuple[str, ...]]
    owner: str | None
    approve: ApprovalDefaults
    rules: tuple[Rule, ...]
    otherwise: tuple[Rule, ...]
    tests: tuple[PolicyTest, ...]

    @classmethod
    def parse(cls, text: str, *, source: str) -> Self:
        """Read a policy from its text. Pure: opening the file is the caller's.

        Args:
            text: YAML 1.2, as DESIGN section 7 describes.
            source: the file's name; it stands in every error and in the places of rules.

        Raises:
            PolicyError: the file is wrong. Each line names file, line, key and code, the first one's code is the
                error's. Correct the file; nothing of it was used.
        """
        canonical = unicodedata.normalize("NFC", text.removeprefix("\ufeff").replace("\r\n", "\n"))
        parts, problems = read_policy(canonical, source=source)
        if parts is None:
            raise _refused(problems, source=source)
        return cls(
            text=canonical,
            hash=hashlib.sha256(canonical.encode()).hexdigest(),
            source=source,
            roles=parts.roles,
            owner=parts.owner,
            approve=parts.approve,
            rules=parts.rules,
            otherwise=parts.otherwise,
            tests=parts.tests,
        )

    def run_tests(self) -> tuple[TestFailure, ...]:
        """Run the file's own tests through :func:`route` and return those that came out otherwise."""
        return tuple(failure for test in self.tests if (failure := self._failure(test)) is not None)

    def check_tools(self, tools: Mapping[str, Impact]) -> None:
        """Refuse allow rules that let money pass without both bounds. The file alone cannot know a tool's impact.

        Args:
            tools: the governed tools' names → the impact their contracts name.

        Raises:
            PolicyError: such rules exist; bound an amount in them, or ask people with ``then: approve``.
        """
        money = {tool for tool, impact in tools.items() if impact is Impact.MONEY}
        open_rules = [
            rule.place
            for rule in self.rules
            if rule.allows_unbounded(Impact.MONEY) and (money if not rule.tools else money.intersection(rule.tools))
        ]
        if open_rules:
            raise PolicyError(
                f"Money is allowed without an amount bounded on both sides: {'; '.join(open_rules)}.",
                todo=f"Change the rules: {MONEY_NEEDS_BOUNDS}.",
                code="policy_money_unbounded",
            )

    def _failure(self, test: PolicyTest) -> TestFailure | None:
        decisions = {impact: route(signals, self) for impact, signals in _test_signals(test)}
        for decision in decisions.values():
            got = _outcome(decision, with_roles=test.by is not None)
            expected = _outcome_expected(test)
            if got == expected:
                continue
            return TestFailure(
                place=test.place,
                tool=test.tool,
                expected=expected,
                got=got,
                reasons=(*decision.reasons, *_hint(decisions)),
            )
        return None


def _refused(problems: tuple[Problem, ...], *, source: str) -> PolicyError:
    lines = [
        f"{source}:{problem.line} {problem.key or '(file)'}: {problem.what} [{problem.code}]"
        for problem in problems[:_LISTED_PROBLEMS]
    ]
    if len(problems) > _LISTED_PROBLEMS:
        lines.append(f"and {len(problems) - _LISTED_PROBLEMS} more")
    return PolicyError(
        "\n".join(lines) + "\n",
        safe="Nothing of the file was used.",
        todo="Correct it and run `langgraph-control policy check`.",
        code=problems[0].code,
    )


def _test_signals(test: PolicyTest) -> Iterator[tuple[Impact, Signals]]:
    """A test that names no impact must come out the same for each."""
    for impact in Impact if test.impact is None else (test.impact,):
        signals = Signals(
            tool=test.tool,
            impact=impact,
            kind=Kind.BLIND,
            system=test.system,
            arguments=test.arguments,
            record=test.record,
            actor="policy test",
            on_behalf_of=None,
            tenant="policy test",
        )
        yield impact, signals


def _outcome(decision: Decision, *, with_roles: bool) -> str:
    if decision.requirement is None or not with_roles:
        return decision.verb.value
    return _approve_by(decision.requirement.quorum)


def _outcome_expected(test: PolicyTest) -> str:
    return test.expect.value if test.by is None else _approve_by(test.by)


def _approve_by(quorum: Mapping[str, int]) -> str:
    people = ", ".join(f"{count} of {role}" for role, count in sorted(quorum.items()))
    return f"{Then.APPROVE} by {people}"


def _hint(decisions: Mapping[Impact, Decision]) -> tuple[str, ...]:
    by_verb = {decision.verb: impact for impact, decision in decisions.items()}
    if len(by_verb) < 2:  # noqa: PLR2004 - two answers differ, one does not
        return ()
    answers = ", ".join(f"{impact}: {verb}" for verb, impact in by_verb.items())
    return (f"the answer depends on the tool's impact ({answers}); name it in the test with impact",)
