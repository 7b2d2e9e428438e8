"""Reading one policy file, part by part: what is wrong is gathered and not raised, so that all mistakes show."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from pydantic import ValidationError

from langgraph_control.guards.approvals import REQUESTER, Escalation
from langgraph_control.guards.conditions import Condition
from langgraph_control.guards.policy_conditions import Finding, range_findings, read_conditions
from langgraph_control.guards.policy_shape import ExpiryShape, shape_problem
from langgraph_control.guards.policy_text import Document, Path, Problem, key_of
from langgraph_control.guards.policy_words import EXACT_NAME, EXACT_NAMES, Shape, did_you_mean
from langgraph_control.guards.quorums import shortage
from langgraph_control.guards.rules import ApprovalDefaults, Then
from langgraph_control.guards.signals import Operation

__all__ = ["Reading"]

_Read = TypeVar("_Read", bound=Shape)

_DEFAULTS: Final = ApprovalDefaults(within_seconds=86400, execute_within_seconds=None, not_by=frozenset({REQUESTER}))


@dataclass(slots=True, kw_only=True)
class Reading:
    """A file that is being read.

    Args:
        document: its values and lines.
        source: its name, for the places of rules.
        problems: what was found wrong so far.
        roles: role → members; None: they could not be read, so nothing is said about roles elsewhere.
        owner: the file's owner.
        approve: the defaults of rules that ask people.
    """

    document: Document
    source: str
    problems: list[Problem]
    roles: Mapping[str, list[str]] | None = None
    owner: str | None = None
    approve: ApprovalDefaults = _DEFAULTS

    def problem(self, path: Path, code: str, what: str) -> None:
        """Note that something is wrong.

        Args:
            path: where.
            code: the stable code of this kind of mistake.
            what: what is wrong and what to write instead.
        """
        line = self.document.line_of(path)
        self.problems.append(Problem(line=line, key=key_of(path), code=code, what=what))

    def place(self, path: Path) -> str:
        """Return how a part is called in reasons: ``rules[2] policy.yaml:7``.

        Args:
            path: where it stands.
        """
        return f"{key_of(path)} {self.source}:{self.document.line_of(path)}"

    def shape(self, shape: type[_Read], value: object, path: Path) -> _Read | None:
        """Return a part checked against its shape, or None where it has another; that is noted.

        Args:
            shape: what it should look like.
            value: what is written.
            path: where.
        """
        try:
            return shape.model_validate(value)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                inner, code, what = shape_problem(detail, shape)
                self.problem((*path, *inner), code, what)
            return None

    def items(self, section: str, shape: type[_Read]) -> Iterator[tuple[_Read, Path]]:
        """Yield the items of a list that have their shape, each with its path.

        Args:
            section: the list's key at the top of the file.
            shape: what its items look like.
        """
        listed = self.document.tree.get(section)
        for index, item in enumerate(listed if isinstance(listed, list) else ()):
            read = self.shape(shape, item, (section, index))
            if read is not None:
                yield read, (section, index)
            elif isinstance(item, dict) and isinstance(when := item.get("when"), dict):
                self._note(read_conditions(when)[1], (section, index, "when"))

    def section(self, section: str, shape: type[_Read]) -> _Read:
        """Return a section, or an empty one where it is not there or wrong.

        Args:
            section: its key at the top of the file.
            shape: what it looks like.
        """
        value = self.document.tree.get(section)
        if value is None:
            return shape()
        return self.shape(shape, value, (section,)) or shape()

    def named(self, section: str, shape: type[_Read]) -> Iterator[tuple[str, _Read]]:
        """Yield what a section says by name, where it has its shape.

        Args:
            section: its key at the top of the file.
            shape: what each name's part looks like.
        """
        value = self.document.tree.get(section)
        if value is None:
            return
        if not isinstance(value, dict):
            self.problem((section,), "policy_value", "write names with keys and values, and `default` for all others")
            return
        for name, part in value.items():
            if not EXACT_NAME.fullmatch(name):
                self.problem((section, name), "policy_value", f"write {EXACT_NAMES}")
            read = self.shape(shape, part, (section, name))
            if read is not None:
                yield name, read

    def conditions(
        self,
        when: Mapping[str, Any],
        then: Then,
        path: Path,
        *,
        inside: str = "",
        operations: Sequence[Operation] = (),
    ) -> tuple[Condition, ...]:
        """Return conditions; what is wrong with them is noted.

        Args:
            when: field → operator → value.
            then: what is decided where they hold.
            path: where they stand.
            inside: put before each field's name.
            operations: the operations that the rule is about; empty means any.
        """
        conditions, findings = read_conditions(when, inside=inside)
        # A comparison that could not be read may be the missing end of a range: one mistake, one message.
        if not findings:
            findings = range_findings(conditions, then, operations)
        self._note(findings, path, inside=inside)
        return conditions

    def _note(self, findings: Iterable[Finding], path: Path, *, inside: str = "") -> None:
        for (field, *inner), code, what in findings:
            self.problem((*path, str(field).removeprefix(inside), *inner), code, what)

    def expiry(self, value: object, path: Path) -> Literal["deny"] | Escalation | None:
        """Return what becomes of a request that nobody answers; None where nothing is said or it is wrong.

        Args:
            value: what stands under ``on_expiry``.
            path: where that is.
        """
        if value is None or value == "deny":
            return "deny" if value else None
        if not isinstance(value, dict):
            self.problem(path, "policy_value", "write deny, or {escalate_to: a role, within: 4h}")
            return None
        read = self.shape(ExpiryShape, value, path)
        if read is None:
            return None
        self.check_quorum(read.escalate_to, (*path, "escalate_to"))
        return Escalation(quorum=read.escalate_to, within_seconds=read.within)

    def check_role(self, role: str | None, path: Path) -> None:
        """Note a role that is not there.

        Args:
            role: its name, None for none.
            path: where it is named.
        """
        if role is not None and self.roles is not None and role not in self.roles:
            self.problem(path, "policy_unknown_role", _no_role(role, self.roles))

    def check_quorum(self, quorum: Mapping[str, int] | None, path: Path) -> None:
        """Note roles that are not there, or have too few people between them.

        Args:
            quorum: role → people, None for none.
            path: where it stands.
        """
        if self.roles is None or quorum is None:
            return
        for role in quorum:
            if role not in self.roles:
                self.problem(path, "policy_unknown_role", _no_role(role, self.roles))
        short = shortage(quorum, self.roles)
        if short is not None:
            self.problem(path, "policy_quorum_unreachable", str(short))

    def check_requester(self, actor: str, quorum: Mapping[str, int], path: Path) -> None:
        """Note roles that have too few people without whoever asks, who may not approve that.

        Args:
            actor: who asks in every request of a rule.
            quorum: role → people.
            path: where it stands.
        """
        if self.roles is None or shortage(quorum, self.roles) is not None:
            return
        others = {
            role: [member for member in members if member.strip().lower() != actor.strip().lower()]
            for role, members in self.roles.items()
        }
        short = shortage(quorum, others)
        if short is not None:
            what = f"{actor} asks, and may not approve that (not_by: requester); without {actor}, {short}"
            self.problem(path, "policy_quorum_unreachable", what)

    def check_members(self) -> None:
        """Note members that are there twice: one person under two spellings could vote twice, so each has one."""
        spelled: dict[str, str] = {}
        for role, members in (self.roles or {}).items():
            for index, member in enumerate(members):
                known = spelled.setdefault(member.lower(), member)
                if known != member:
                    self.problem(("roles", role, index), "policy_person_spelled_twice", f"written as {known} before")
                if member in members[:index]:
                    self.problem(("roles", role, index), "policy_person_twice", "this member is in the role already")


def _no_role(role: str, roles: Mapping[str, object]) -> str:
    return f"there is no role {role}; {did_you_mean(role, roles) if roles else 'there are none under `roles`'}"
