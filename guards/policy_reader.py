"""From a policy file's text to its rules: shape first, then what one part says about another. All mistakes at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from langgraph_control.guards.approvals import REQUESTER, Requirement
from langgraph_control.guards.conditions import Condition
from langgraph_control.guards.policy_conditions import range_findings, read_conditions
from langgraph_control.guards.policy_shape import (
    ApproveShape,
    OtherwiseShape,
    PolicyShape,
    RuleShape,
    Shape,
    TestShape,
    did_you_mean,
    shape_problem,
)
from langgraph_control.guards.policy_text import Document, Path, Problem, key_of, read_document
from langgraph_control.guards.rules import ApprovalDefaults, PolicyTest, Rule, Then
from langgraph_control.guards.signals import Impact

__all__ = ["PolicyParts", "read_policy"]

GROUP: Final = "group:"
MONEY_NEEDS_BOUNDS: Final = (
    "an allow rule for money bounds an amount on both sides, like when: {amount: {gt: 0, lte: 100}}"
)
_Read = TypeVar("_Read", bound=Shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyParts:
    """What a correct file says.

    Args:
        roles: role → its members: people, or ``group:<name>``.
        owner: the role that settles what nobody else is named for, None where the file names none.
        approve: the defaults of rules that ask people.
        rules: the rules in the file's order; the order decides nothing.
        otherwise: the rules for calls that no rule matches.
        tests: the file's own tests.
    """

    roles: Mapping[str, tuple[str, ...]]
    owner: str | None
    approve: ApprovalDefaults
    rules: tuple[Rule, ...]
    otherwise: tuple[Rule, ...]
    tests: tuple[PolicyTest, ...]


def read_policy(text: str, *, source: str) -> tuple[PolicyParts | None, tuple[Problem, ...]]:
    """Return the file's parts, or None and everything that is wrong with it, by line.

    Args:
        text: the file's text.
        source: the file's name, for the places of rules.
    """
    document = read_document(text)
    reader = _Reader(document=document, source=source, problems=list(document.problems))
    parts = reader.read_parts() if isinstance(document.tree, dict) else None
    if parts is None and not reader.problems:
        reader.problem((), "policy_value", "a policy is a mapping that starts with `version: 1`")
    problems = tuple(sorted(reader.problems, key=lambda problem: problem.line))
    return (None if problems else parts), problems


_DEFAULTS: Final = ApprovalDefaults(within_seconds=86400, execute_within_seconds=None, not_by=frozenset({REQUESTER}))


@dataclass(slots=True, kw_only=True)
class _Reader:
    document: Document
    source: str
    problems: list[Problem]
    roles: Mapping[str, list[str]] | None = None  # None: not readable, so nothing is said about roles elsewhere
    approve: ApprovalDefaults = _DEFAULTS

    def read_parts(self) -> PolicyParts:
        """Read everything readable; the result means something only where no problem was found."""
        file = self.shape(PolicyShape, self.document.tree, ())
        if file is not None:
            self.roles = file.roles
            self.approve = _defaults(file.approve)
            self.check_members(file.roles)
            self.check_owner(file.owner)
        return PolicyParts(
            roles={role: tuple(members) for role, members in (self.roles or {}).items()},
            owner=file.owner if file is not None else None,
            approve=self.approve,
            rules=tuple(self.rule(item, path) for item, path in self.items("rules", RuleShape)),
            otherwise=tuple(self.rule(item, path) for item, path in self.items("otherwise", OtherwiseShape)),
            tests=tuple(self.test(item, path) for item, path in self.items("tests", TestShape)),
        )

    def items(self, section: str, shape: type[_Read]) -> Iterator[tuple[_Read, Path]]:
        listed = self.document.tree.get(section)
        for index, item in enumerate(listed if isinstance(listed, list) else []):
            read = self.shape(shape, item, (section, index))
            if read is not None:
                yield read, (section, index)

    def shape(self, shape: type[_Read], value: object, path: Path) -> _Read | None:
        try:
            return shape.model_validate(value)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                inner, code, what = shape_problem(detail, shape)
                self.problem((*path, *inner), code, what)
            return None

    def rule(self, item: RuleShape | OtherwiseShape, path: Path) -> Rule:
        named = item if isinstance(item, RuleShape) else None
        conditions = self.conditions(named, path) if named is not None else ()
        self.check_by(item, path)
        rule = Rule(
            place=self.place(path),
            tools=tuple(named.tool) if named is not None else (),
            impacts=tuple(item.impact),
            systems=tuple(named.system) if named is not None else (),
            conditions=conditions,
            then=item.then,
            requirement=self.requirement(item),
        )
        if named is not None and not (rule.tools or rule.impacts or rule.systems):
            self.problem(path, "policy_rule_about_nothing", "say what the rule is about: tool, impact or system")
        if rule.allows_unbounded(Impact.MONEY) and rule.impacts:
            self.problem((*path, "then"), "policy_money_unbounded", MONEY_NEEDS_BOUNDS)
        return rule

    def conditions(self, item: RuleShape, path: Path) -> tuple[Condition, ...]:
        conditions, findings = read_conditions(item.when)
        # A comparison that could not be read may be the missing end of a range: one mistake, one message.
        if not findings:
            findings = range_findings(conditions, item.then)
        for inner, code, what in findings:
            self.problem((*path, "when", *inner), code, what)
        return conditions

    def requirement(self, item: RuleShape | OtherwiseShape) -> Requirement | None:
        if item.then is not Then.APPROVE or item.by is None:
            return None
        return self.approve.requirement(item.by, within_seconds=item.within, comment=item.comment is not None)

    def check_by(self, item: RuleShape | OtherwiseShape, path: Path) -> None:
        if item.then is Then.APPROVE and item.by is None:
            self.problem(path, "policy_missing_key", "approve needs `by`: a role, or roles with numbers")
        for key in ("by", "comment", "within"):
            if item.then is not Then.APPROVE and getattr(item, key) is not None:
                self.problem((*path, key), "policy_key_unused", f"{key} means something only with `then: approve`")
        self.check_quorum(item.by, path)

    def check_quorum(self, by: Mapping[str, int] | None, path: Path) -> None:
        if self.roles is None or by is None:
            return
        for role, count in by.items():
            if role not in self.roles:
                self.problem((*path, "by"), "policy_unknown_role", _no_role(role, self.roles))
            elif _can_be_counted(self.roles[role]) and count > len(self.roles[role]):
                what = f"{role} has fewer people than the {count} asked for, so nobody could ever approve"
                self.problem((*path, "by"), "policy_quorum_unreachable", what)

    def check_owner(self, owner: str | None) -> None:
        if owner is not None and self.roles is not None and owner not in self.roles:
            self.problem(("owner",), "policy_unknown_role", _no_role(owner, self.roles))

    def check_members(self, roles: Mapping[str, list[str]]) -> None:
        """One person under two spellings could vote twice, so each has one."""
        spelled: dict[str, str] = {}
        for role, members in roles.items():
            for index, member in enumerate(members):
                known = spelled.setdefault(member.lower(), member)
                if known != member:
                    self.problem(("roles", role, index), "policy_person_spelled_twice", f"written as {known} before")
                if member in members[:index]:
                    self.problem(("roles", role, index), "policy_person_twice", "this member is in the role already")

    def test(self, item: TestShape, path: Path) -> PolicyTest:
        for name in _unplaceable(item.arguments):
            what = "give each field once, as an argument's name or record.<field>, without empty parts"
            self.problem((*path, "with", name), "policy_field", what)
        arguments, record = _nested(item.arguments)
        if item.by is not None and item.expect is not Then.APPROVE:
            self.problem((*path, "by"), "policy_key_unused", "by means something only with `expect: approve`")
        self.check_quorum(item.by, path)
        return PolicyTest(
            place=self.place(path),
            tool=item.call,
            arguments=arguments,
            record=record,
            impact=item.impact,
            system=item.system,
            expect=item.expect,
            by=item.by,
        )

    def place(self, path: Path) -> str:
        return f"{key_of(path)} {self.source}:{self.document.line_of(path)}"

    def problem(self, path: Path, code: str, what: str) -> None:
        line = self.document.line_of(path)
        self.problems.append(Problem(line=line, key=key_of(path), code=code, what=what))


def _no_role(role: str, roles: Mapping[str, object]) -> str:
    return f"there is no role {role}; {did_you_mean(role, list(roles)) if roles else 'there are none under `roles`'}"


def _can_be_counted(members: list[str]) -> bool:
    return not any(member.startswith(GROUP) for member in members)


def _defaults(shape: ApproveShape) -> ApprovalDefaults:
    return ApprovalDefaults(
        within_seconds=shape.within, execute_within_seconds=shape.execute_within, not_by=frozenset(shape.not_by)
    )


def _unplaceable(given: Mapping[str, Any]) -> list[str]:
    """Names with empty parts, or that reach into a value which the test gives whole."""
    reaching = {name: name.split(".") for name in given}
    return [
        name
        for name, parts in reaching.items()
        if not all(parts) or any(".".join(parts[:length]) in given for length in range(1, len(parts)))
    ]


def _nested(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Split a test's `with` into arguments and record, turning dots into nesting as conditions look them up."""
    top: dict[str, Any] = {}
    unplaceable = _unplaceable(given)
    for name, value in given.items():
        if name in unplaceable:  # reported; the result is not used
            continue
        *outer, last = name.split(".")
        place = top
        for part in outer:
            place = place.setdefault(part, {})
        place[last] = value
    record = top.pop("record", None) if any(name.startswith("record.") for name in given) else None
    return top, record
