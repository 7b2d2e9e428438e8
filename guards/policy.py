"""The policy: rules that people write in a file, and what the file says about itself."""

import hashlib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Final, Self

from langgraph_control.errors import PolicyError
from langgraph_control.guards.conditions import Facts
from langgraph_control.guards.judging import RuleIndex
from langgraph_control.guards.limits import Charge, charge
from langgraph_control.guards.policy_parts import Mode, Owners, PolicyParts
from langgraph_control.guards.policy_reader import read_policy
from langgraph_control.guards.policy_rules import MONEY_NEEDS_BOUNDS
from langgraph_control.guards.policy_text import Problem
from langgraph_control.guards.risk import assess
from langgraph_control.guards.rule_cover import DeadRule, dead_rules
from langgraph_control.guards.rule_tests import TestFailure, failures
from langgraph_control.guards.rules import Rule
from langgraph_control.guards.signal_fields import GATHERED
from langgraph_control.guards.signals import Impact, Signals

__all__ = ["Mode", "Owners", "Policy", "TestFailure"]

_LISTED_PROBLEMS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(PolicyParts):
    """A policy file that was read and found correct. Build one with :meth:`parse`.

    Args:
        text: the file's canonical text: no byte order mark, line feeds, NFC.
        hash: SHA-256 of the canonical text's UTF-8 bytes, in hex.
        source: the file's name.
    """

    text: str
    hash: str
    source: str
    index: RuleIndex = field(init=False, repr=False, compare=False)
    otherwise_index: RuleIndex = field(init=False, repr=False, compare=False)
    records_index: RuleIndex = field(init=False, repr=False, compare=False)
    asking: Mapping[str, tuple[Rule, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", RuleIndex(self.rules))
        object.__setattr__(self, "otherwise_index", RuleIndex(self.otherwise))
        object.__setattr__(self, "records_index", RuleIndex(self.records))
        everything = (*self.rules, *self.otherwise, *self.records)
        asking = {head: tuple(rule for rule in everything if rule.asks(head)) for head in GATHERED}
        object.__setattr__(self, "asking", asking)

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[()]]:
        """Copy and pickle by what the file says; the indexes are made anew."""
        said = {part.name: getattr(self, part.name) for part in fields(self) if part.init}
        return partial(type(self), **said), ()

    @classmethod
    def parse(cls, text: str, *, source: str) -> Self:
        """Read a policy from its text. Pure: opening the file is the caller's.

        Args:
            text: YAML 1.2, as docs/policy.md describes.
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
            **{part.name: getattr(parts, part.name) for part in fields(parts)},
        )

    def charges(self, signals: Signals) -> tuple[Charge, ...]:
        """Return what a call takes of the budgets, for the ledger to count.

        What cannot be counted is left out: :func:`route` has denied such a call already.

        Args:
            signals: everything known about the call.
        """
        facts = Facts(signals, assess(signals, self.risk).fields)
        limits = self.limits_for(signals.tool, signals.impact, signals.system)
        return tuple(one for limit in limits if (one := charge(limit, signals, facts)) is not None)

    def asks(self, head: str, signals: Signals) -> bool:
        """Whether a rule about a call has conditions on ``system.…`` or ``run.…``, which then have to be gathered.

        Args:
            head: ``system`` or ``run``.
            signals: the call, as far as it is known.
        """
        rules = self.asking[head]
        return bool(rules) and any(rule.is_about(signals) for rule in rules)

    def run_tests(self) -> tuple[TestFailure, ...]:
        """Run the file's own tests through :func:`route` and return those that came out otherwise."""
        return failures(self)

    def dead_rules(self) -> tuple[DeadRule, ...]:
        """Return the rules that can never make a difference, each with the rule that takes its place."""
        return dead_rules(self.rules, self.otherwise, self.records)

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
