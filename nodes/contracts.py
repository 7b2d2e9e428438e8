"""What a tool does to the world, declared: ``@reads`` and ``@writes`` on functions and tools, or beside others' tools.

Two questions nobody can answer for the user are required on a write: ``key`` (which arguments say that two calls are
the same change) and ``impact`` (what breaks if it is wrong or happens twice). Every hook takes the :class:`Action`, is
sync or async, may take 30 seconds, after which it has failed, and each one given buys something visible.
"""

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypeVar

from langchain_core.tools import BaseTool

from langgraph_control.errors import ContractError
from langgraph_control.guards.failures import Refusal
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.signals import Impact, Operation
from langgraph_control.nodes import contract_checks as checks
from langgraph_control.nodes.action import ABSENT, Absent, Action, Call, Done, NotDone, Outcome, Unknown
from langgraph_control.nodes.bodies import check_bodies
from langgraph_control.nodes.durations import Duration, seconds_of
from langgraph_control.nodes.fallbacks import WAIT, check_fallback
from langgraph_control.nodes.links import check_link, filled
from langgraph_control.nodes.refusals import Meaning, refusals_of

__all__ = [
    "ABSENT",
    "TIMEOUT_SECONDS",
    "VISIBLE_WITHIN_SECONDS",
    "WAIT",
    "Absent",
    "Action",
    "Call",
    "Contract",
    "Done",
    "Hook",
    "NotDone",
    "Outcome",
    "Unknown",
    "contract_of",
    "contracts_by_name",
    "reads",
    "resolve_contracts",
    "writes",
]

TIMEOUT_SECONDS: Final = 30.0
"""How long one attempt may take. Beyond it the outcome is unknown, and the action's lease ends soon after."""

VISIBLE_WITHIN_SECONDS: Final = 30.0
"""How long an effect may take to show in what ``find`` or ``read`` see (read replicas, search indexes, queues).

"Not there" is believed only this long after the last moment a request can have been sent: believed sooner, an effect
that lands late is done twice.
"""

Hook: TypeAlias = Callable[[Action], Any]
"""Takes the action; sync, or async (then the answer is awaited)."""

T = TypeVar("T", bound=Callable[..., Any] | BaseTool)

_ATTRIBUTE: Final = "__control_contract__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What one tool does; made by :func:`reads` and :func:`writes`. Call it with a function or tool to attach it.

    Args:
        effect: ``read`` is free to repeat; ``write`` goes through the gate.
        key: the identifying arguments, in the order given.
        impact: what breaks if the write is wrong or happens twice; None on a read.
        operation: what kind of operation it is; None: the one that the impact implies.
        system: the system of record, for routing, the card and the record.
        target: the name of the argument that holds the record's id, a template (``"order/{order_id}"``), or a hook.
        link: where people look at the record, an address with arguments in its path or query; None: nowhere.
        explain: arguments in which the model says why, in free words: required, and never part of a key.
        read: hook: the record as it is now (a mapping), or ``ABSENT``.
        expect: hook: the fields the record has once the write is in effect; None or none of them: cannot say.
        find: hook: the tool's result if the effect is there, ``ABSENT``: certainly not, None: cannot tell (so is what
            ``outcome`` answers with: ``Done``, ``NotDone``, ``Unknown``).
        outcome: hook: :class:`Done`, :class:`NotDone` or :class:`Unknown` for what the tool returned.
        watch: fields of the record an approval depends on; empty, or where the record lacks one: all of them.
        keyed_for_seconds: how long the provider honours the action key as an idempotency key; None: not at all.
        visible_within_seconds: see :data:`VISIBLE_WITHIN_SECONDS`.
        sql: the effect is SQL on the ledger's own connection.
        repeatable: equal calls under one intent are different effects, counted in the message branch the model saw.
        timeout_seconds: see :data:`TIMEOUT_SECONDS`.
        undo: hook: the :class:`Call` that takes the effect back; None: nothing can.
        refusals: by which answers this provider guarantees that nothing was done, and by which it does not.
        redact: paths of arguments and record fields that are not written down, such as ``customer.iban``.
        shown_to: path → roles whose members find it on the card all the same; the other paths are shown to nobody.
        version: part of what an approval binds to; raise it when the tool comes to mean something else.
        fallback: of a read: what stands in for its answer when it fails, a hook that gives that, or ``WAIT``.
    """

    effect: Literal["read", "write"]
    key: tuple[str, ...] = ()
    impact: Impact | None = None
    operation: Operation | None = None
    system: str | None = None
    target: str | Hook | None = None
    link: str | None = None
    explain: tuple[str, ...] = ()
    read: Hook | None = field(default=None, repr=False)
    expect: Hook | None = field(default=None, repr=False)
    find: Hook | None = field(default=None, repr=False)
    outcome: Hook | None = field(default=None, repr=False)
    undo: Hook | None = field(default=None, repr=False)
    watch: tuple[str, ...] = ()
    keyed_for_seconds: float | None = None
    visible_within_seconds: float = VISIBLE_WITHIN_SECONDS
    sql: bool = False
    repeatable: bool = False
    timeout_seconds: float = TIMEOUT_SECONDS
    refusals: tuple[Refusal, ...] = ()
    redact: frozenset[str] = frozenset()
    shown_to: Mapping[str, frozenset[str]] = field(default_factory=dict, hash=False)
    version: str = "1"
    fallback: Any = field(default=None, repr=False, hash=False)

    @property
    def is_write(self) -> bool:
        """Whether calls go through the gate."""
        return self.effect == "write"

    @property
    def can_verify(self) -> bool:
        """Whether the effect can be read back."""
        return self.find is not None or (self.read is not None and self.expect is not None)

    @property
    def kind(self) -> Kind:
        """What is known of the effect after its answer is lost: the strongest kind the hooks allow.

        On a read it is meaningless; ask only where :attr:`is_write` holds.
        """
        if self.sql:
            return Kind.TRANSACTION
        return Kind.KEYED if self.keyed_for_seconds is not None else self.fallback_kind

    @property
    def fallback_kind(self) -> Kind:
        """What a keyed effect counts as once the provider may have forgotten the key."""
        return Kind.VERIFIED if self.can_verify else Kind.BLIND

    def before_image(self, record: object) -> object:
        """Return the part of a record that the digest covers: the watched fields, or all of it.

        All of it, too, where it lacks a watched field: a misspelt name must not make an approval hold for longer.

        Args:
            record: what ``read`` returned.
        """
        if not self.watch or not isinstance(record, Mapping) or self.not_in(record):
            return record
        return {name: record[name] for name in self.watch}

    def not_in(self, record: object) -> tuple[str, ...]:
        """Return the watched fields that a record does not have.

        Args:
            record: what ``read`` returned.
        """
        return tuple(name for name in self.watch if name not in record) if isinstance(record, Mapping) else ()

    def target_text(self, args: Mapping[str, Any]) -> str | None:
        """Return the record's name where an argument or a template gives it; None for a hook, or without target.

        Args:
            args: the call's arguments.
        """
        if not isinstance(self.target, str):
            return None
        template = self.target if "{" in self.target else "{" + self.target + "}"
        given = {name: args.get(name) for name in checks.template_fields(template)}
        if any(value is None or value == "" for value in given.values()):
            return None
        return string.Formatter().vformat(template, (), given)

    def link_text(self, args: Mapping[str, Any]) -> str | None:
        """Return where people look at the record; None without link, or where an argument is not fit for one.

        Args:
            args: the call's arguments.
        """
        return None if self.link is None else filled(self.link, args, hidden=self.redact)

    def __call__(self, tool: T) -> T:
        """Attach this contract to a function or tool and return the same object.

        Args:
            tool: a plain function, a coroutine function, or a ``BaseTool``.

        Raises:
            ContractError: it has a contract already, cannot carry one, or lacks an argument the contract names.
        """
        name = checks.name_of(tool)
        if isinstance(tool, type):
            raise _not_attachable(name, "class")
        if contract_of(tool) is not None:
            raise ContractError(
                f"Tool {name} has a contract already.",
                todo="Keep one of the two declarations.",
                code="contract_twice",
            )
        checks.check_arguments(self, name, checks.argument_names(tool))
        try:
            # Not through pydantic: the attribute sits beside a tool's fields, where copies and pickles carry it along
            # and neither the model nor tracing sees it.
            object.__setattr__(tool, _ATTRIBUTE, self)
        except (AttributeError, TypeError) as refused:
            raise _not_attachable(name, type(tool).__name__) from refused
        return tool


def reads(
    tool: None = None,
    /,
    *,
    system: str | None = None,
    target: str | Hook | None = None,
    fallback: object = None,
    **wrong: object,
) -> Contract:
    """Declare that a tool changes nothing: it is free to repeat, and one entry records it.

    Args:
        tool: nothing: the decorator takes parentheses.
        system: the system of record.
        target: the name of the argument that holds the record's id, a template, or a hook.
        fallback: what stands in for the answer when the read has failed for good: a text or plain values, or a hook
            that gives them (None: nothing after all). Marked as such for the model, for approvers and in the record.
            ``WAIT``: the run waits and tries again later; what another try cannot help is raised at once.
        **wrong: nothing else applies to a read.

    Returns:
        A contract; use it as a decorator, or in ``govern(tools, contracts={"name": reads()})``.

    Raises:
        ContractError: an option of writes was given (code ``contract_read_option``), or the target or the fallback
            is wrong.
    """
    checks.check_no_tool(tool, kind="reads")
    if wrong:
        named = ", ".join(sorted(wrong))
        raise ContractError(
            f"reads() was given {named}, which only a write has.",
            todo="If the tool changes something, declare it with writes(); if not, leave it out.",
            code="contract_read_option",
        )
    checks.check_text(system, field="system")
    checks.check_target(target)
    if callable(fallback):
        checks.check_hooks({"fallback": fallback})
    else:
        check_fallback(fallback)
    return Contract(effect="read", system=system, target=target, fallback=fallback)


def writes(
    tool: None = None,
    /,
    *,
    key: str | Sequence[str] | None = None,
    impact: Impact | str | None = None,
    operation: Operation | str | None = None,
    system: str | None = None,
    target: str | Hook | None = None,
    link: str | None = None,
    explain: str | Sequence[str] | None = None,
    read: Hook | None = None,
    expect: Hook | None = None,
    find: Hook | None = None,
    outcome: Hook | None = None,
    undo: Hook | None = None,
    watch: str | Sequence[str] | None = None,
    keyed_for: Duration | None = None,
    visible_within: Duration | None = None,
    sql: bool = False,
    repeatable: bool = False,
    timeout: Duration | None = None,
    refusals: Mapping[int | str | type[Exception], Meaning] | None = None,
    redact: str | Sequence[str] | Mapping[str, str | Sequence[str]] = (),
    version: str = "1",
    fallback: object = None,
) -> Contract:
    """Declare that a tool changes something: each call is claimed, decided, recorded, and done once.

    Args:
        tool: nothing: the decorator takes parentheses.
        key: the arguments that say two calls are the same change, e.g. ``"order_id"``. ``()`` if there are none: then
            the tool does its one change once per intent.
        impact: what breaks if the write is wrong or happens twice.
        operation: what kind of operation it is, for rules about that: ``"create"``, ``"update"``, ``"delete"``,
            ``"send"``, ``"transfer"``, ``"grant"`` or ``"run"``. Without it the impact's: money transfers, for example.
        system: the system of record.
        target: the name of the argument that holds the record's id, a template (``"order/{order_id}"``), or a hook;
            a write whose hook names no record is not done.
        link: where people look at the record: ``"https://crm.example/orders/{order_id}"``. Arguments stand in its path
            or query only, and are encoded.
        explain: arguments in which the model says why, in free words. Required in each call; never part of a key.
        read: hook: the record as it is now. Brings context rules and, through the digest, stale approvals.
        expect: hook: the fields the record will have. With ``read``: the diff, "already in the target state",
            verify-first, verification after the write.
        find: hook: the result if the effect is there, ``ABSENT`` or None. Brings verify-first.
        outcome: hook: tells a failure reported in prose from a success.
        undo: hook: the :class:`Call` that takes this effect back, from what was done, what it gave and how the record
            was before; None: nothing can. Used by :func:`saga`.
        watch: fields of the record an approval depends on; all of them if not given, or where it lacks one of these.
        keyed_for: how long the provider honours the action key as an idempotency key.
        visible_within: how long an effect may take to show when read back; default 30 s.
        sql: the effect is SQL on the ledger's own connection: it commits with its record.
        repeatable: equal calls under one intent are different effects.
        timeout: how long one attempt may take; default 30 s.
        refusals: what this provider's answers mean where it differs from the usual: by HTTP status (``503``), gRPC
            status, AWS error or SQLSTATE (``"ABORTED"``), JSON-RPC code, or exception class of the tool's own.
            ``"transient"``, ``"rate_limited"``, ``"permanent"``: nothing was done, and another try would meet that;
            ``"unknown"``: something may have been done.
        redact: arguments and record fields that must not be written down, by name or by the path that leads to them:
            ``"customer.iban"``. A path goes into every element of a list. As a mapping, path → the role, or roles,
            whose members see it on the card, and nobody else anywhere: ``{"customer.iban": "finance", "pin": ()}``.
        version: raise it when the tool comes to mean something else; open approvals of the old one then lapse.
        fallback: not for a write: nothing can stand in for an effect.

    Returns:
        A contract; use it as a decorator, or in ``govern(tools, contracts={"name": writes(...)})``.

    Raises:
        ContractError: something is missing or contradicts itself. The text names the field and what to write.
    """
    checks.check_no_tool(tool, kind="writes")
    if fallback is not None:
        raise ContractError(
            "writes() was given fallback, which only a read has: nothing can stand in for an effect.",
            todo="Leave it out. What a failed write is followed by is the policy's: retries, breakers, owners.",
            code="contract_write_option",
        )
    hooks = {"read": read, "expect": expect, "find": find, "outcome": outcome, "undo": undo}
    checks.check_text(system, field="system")
    checks.check_text(version, field="version", needed=True)
    checks.check_yes_or_no(sql, field="sql")
    checks.check_yes_or_no(repeatable, field="repeatable")
    checks.check_hooks(hooks)
    checks.check_target(target)
    check_link(link)
    checks.check_combination(hooks, watch=watch, sql=sql, keyed_for=keyed_for, refusals=refusals)
    explained = checks.names(() if explain is None else explain, field="explain")
    return Contract(
        effect="write",
        key=checks.check_key(key, explained),
        impact=checks.check_impact(impact),
        operation=checks.check_operation(operation),
        system=system,
        target=target,
        link=link,
        explain=explained,
        watch=checks.names(() if watch is None else watch, field="watch"),
        keyed_for_seconds=None if keyed_for is None else seconds_of(keyed_for, field="keyed_for"),
        visible_within_seconds=seconds_of(
            VISIBLE_WITHIN_SECONDS if visible_within is None else visible_within, field="visible_within"
        ),
        sql=sql,
        repeatable=repeatable,
        timeout_seconds=seconds_of(TIMEOUT_SECONDS if timeout is None else timeout, field="timeout"),
        refusals=refusals_of(refusals),
        redact=checks.redacted_paths(redact, explained),
        shown_to=checks.shown_to(redact),
        version=version,
        **hooks,
    )


def contract_of(tool: object) -> Contract | None:
    """Return the contract a function or tool carries, or the one on the function inside the tool.

    Args:
        tool: a function or a ``BaseTool``, copied or not.
    """
    for carrier in (tool, getattr(tool, "func", None), getattr(tool, "coroutine", None)):
        contract = getattr(carrier, _ATTRIBUTE, None)
        if isinstance(contract, Contract):
            return contract
    return None


def contracts_by_name(tools: Sequence[BaseTool]) -> dict[str, Contract]:
    """Return the contracts that tools carry, by tool name; tools without one are left out.

    Args:
        tools: the tools of one agent.

    Raises:
        ContractError: two tools share a name (code ``contract_duplicate_tool``): one contract would stand for both.
    """
    return resolve_contracts(tools, None)


def resolve_contracts(tools: Sequence[BaseTool], contracts: Mapping[str, Contract] | None) -> dict[str, Contract]:
    """Return the contract of each governed tool, by name, checked against the tool's arguments.

    A tool with neither a contract of its own nor one in ``contracts`` is ungoverned and left out.

    Args:
        tools: the tools of one agent.
        contracts: contracts for tools one does not own, by tool name.

    Raises:
        ContractError: two tools share a name, a contract names no tool, a tool has two contracts, a contract names an
            argument its tool does not have, a tool is a generator, a default is made anew with each call, or money is
            declared as a float.
    """
    beside = dict(contracts or {})
    resolved: dict[str, Contract] = {}
    seen: set[str] = set()
    for tool in tools:
        checks.check_new_name(tool.name, seen)
        own, given = contract_of(tool), beside.pop(tool.name, None)
        if own is not None and given is not None and own is not given:
            raise ContractError(
                f"Tool {tool.name} carries a contract and is given another.",
                todo=f"Remove {tool.name} from contracts=, or the decorator from the tool.",
                code="contract_twice",
            )
        contract = own if own is not None else given
        if contract is not None:
            _check_is_contract(contract, tool.name)
            checks.check_arguments(contract, tool.name, checks.argument_names(tool))
            check_bodies(tool)
            checks.check_defaults(contract, tool)
            checks.check_money(contract, tool)
            resolved[tool.name] = contract
    checks.check_none_left(beside, seen)
    return resolved


def _not_attachable(name: str, kind: str) -> ContractError:
    return ContractError(
        f"{name} is a {kind}, which cannot carry a contract.",
        todo="Make a tool of it first (langchain_core.tools.tool), or pass contracts={name: ...} to govern.",
        code="contract_not_attachable",
    )


def _check_is_contract(contract: object, name: str) -> None:
    if not isinstance(contract, Contract):
        raise ContractError(
            f"What contracts= holds for {name} is a {type(contract).__name__}, not a contract.",
            todo=f'Write contracts={{"{name}": writes(key=..., impact=...)}} or reads().',
            code="contract_not_a_contract",
        )
