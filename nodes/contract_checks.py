"""What a contract must hold to, and the errors that say so. Each names the tool or field and what to write instead."""

import inspect
import string
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from langchain_core.tools import BaseTool

from langgraph_control.errors import ContractError
from langgraph_control.guards.redaction import is_path, paths_inside
from langgraph_control.guards.signals import Impact, Operation
from langgraph_control.nodes.made_defaults import made_defaults
from langgraph_control.nodes.money_floats import float_parameters
from langgraph_control.nodes.parameters import tool_parameters

if TYPE_CHECKING:
    from langgraph_control.nodes.contracts import Contract

Redact: TypeAlias = str | Sequence[str] | Mapping[str, str | Sequence[str]]

_IMPACTS: Final = ", ".join(Impact)
_OPERATIONS: Final = ", ".join(Operation)


def names(given: str | Sequence[str], *, field: str) -> tuple[str, ...]:
    """Return argument names as a tuple without repeats.

    Args:
        given: one name, or several.
        field: the contract's field, for the error.

    Raises:
        ContractError: a name is no text, empty, or given twice.
    """
    listed = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    if any(not isinstance(name, str) or not name for name in listed) or len(set(listed)) != len(listed):
        raise ContractError(
            f"{field} must be a name or several different names.",
            todo=f'Write {field}="order_id" or {field}=("order_id", "line").',
            code="contract_names",
        )
    return listed


TEXT_CHARS_MAX: Final = 256
"""Of a system's name, a tool's name and a version: what the ledger keeps."""

_EXAMPLES: Final = {"version": "2", "a tool's name": "refund"}


def check_text(text: object, *, field: str, needed: bool = False) -> None:
    """Refuse what is no short text that people can read.

    Args:
        text: as given; None is nothing.
        field: the contract's field, for the error.
        needed: None is refused, too.

    Raises:
        ContractError: ``contract_value``.
    """
    if text is None and not needed:
        return
    if isinstance(text, str) and text.strip() and text.isprintable() and len(text) <= TEXT_CHARS_MAX:
        return
    kind = f"a value of type {type(text).__name__}"
    if isinstance(text, str):
        kind = (
            "an empty text"
            if not text.strip()
            else f"a text of {len(text):,} characters"
            if len(text) > TEXT_CHARS_MAX
            else "a text with characters that do not print"
        )
    raise ContractError(
        f"{field} is {kind}; it is a text that prints, of 1 to {TEXT_CHARS_MAX} characters.",
        todo=f"Write {field} as people know it, for example {_EXAMPLES.get(field, 'billing')!r}.",
        code="contract_value",
    )


def check_yes_or_no(value: object, *, field: str) -> None:
    """Refuse what is neither True nor False: what else counts as one of them is a guess.

    Args:
        value: as given.
        field: the contract's field, for the error.

    Raises:
        ContractError: ``contract_value``.
    """
    if not isinstance(value, bool):
        raise ContractError(
            f"{field} is a value of type {type(value).__name__}; it is True or False.",
            todo=f"Write {field}=True, or leave it out.",
            code="contract_value",
        )


def check_no_tool(tool: object, *, kind: str) -> None:
    """Refuse a decorator that was written without parentheses.

    Args:
        tool: what stands in their place; None: nothing.
        kind: ``reads`` or ``writes``.

    Raises:
        ContractError: ``contract_parentheses``.
    """
    if tool is None:
        return
    wanted = "@reads()" if kind == "reads" else '@writes(key="order_id", impact="money"), with its own key and impact'
    raise ContractError(
        f"{kind} was given {type(tool).__name__} {getattr(tool, '__name__', '')}".rstrip()
        + " in place of its options: the parentheses are missing.",
        todo=f"Write {wanted}.",
        code="contract_parentheses",
    )


def check_key(key: str | Sequence[str] | None, explain: Collection[str]) -> tuple[str, ...]:
    """Return the identifying arguments.

    Args:
        key: what the contract says; None: nothing.
        explain: the free-text arguments.

    Raises:
        ContractError: no key (``contract_key_missing``), or one that is free text (``contract_key_free_text``).
    """
    if key is None:
        raise ContractError(
            "A write lacks key: which arguments say that two calls are the same change?",
            todo='For example key="order_id", or key=() if there are none and its one change is due once per request.',
            code="contract_key_missing",
        )
    identifying = names(key, field="key")
    worded = [name for name in identifying if name in explain]
    if worded:
        raise ContractError(
            f"key names {worded[0]}, which explain= declares as free text: a model words it anew each time.",
            todo="Name arguments that stay the same when the same change is asked for again.",
            code="contract_key_free_text",
        )
    return identifying


def check_impact(impact: Impact | str | None) -> Impact:
    """Return the impact.

    Args:
        impact: what the contract says; None: nothing.

    Raises:
        ContractError: no impact (``contract_impact_missing``), or none we know (``contract_impact_unknown``).
    """
    if impact is None:
        raise ContractError(
            "A write lacks impact: what breaks if this is wrong, or done twice?",
            todo=f'Write impact= one of {_IMPACTS}. For example impact="money".',
            code="contract_impact_missing",
        )
    try:
        return Impact(impact)
    except ValueError as unknown:
        raise ContractError(
            "impact is none of those that policies know.",
            todo=f"Write impact= one of {_IMPACTS}.",
            code="contract_impact_unknown",
        ) from unknown


def check_operation(operation: Operation | str | None) -> Operation | None:
    """Return the kind of operation; None for the one that the impact implies.

    Args:
        operation: what the contract says; None: nothing.

    Raises:
        ContractError: none we know (``contract_operation_unknown``): rules about it would never match.
    """
    if operation is None:
        return None
    try:
        return Operation(operation)
    except ValueError as unknown:
        raise ContractError(
            "operation is none of those that policies know.",
            todo=f"Write operation= one of {_OPERATIONS}, or leave it out: the impact implies one.",
            code="contract_operation_unknown",
        ) from unknown


def check_hooks(hooks: Mapping[str, object]) -> None:
    """Check that each given hook can be called with the action.

    Args:
        hooks: hooks by field, None where not given.

    Raises:
        ContractError: code ``contract_hook_signature``.
    """
    for field, hook in hooks.items():
        if hook is not None and not _takes_one(hook):
            raise ContractError(
                f"The hook {field} must take exactly one positional argument, the action.",
                todo=f"Write def {field}(action): ... (sync or async); its arguments are in action.args.",
                code="contract_hook_signature",
            )


def _takes_one(hook: object) -> bool:
    if not callable(hook):
        return False
    try:
        signature = inspect.signature(hook)
    except (TypeError, ValueError):  # a callable of C without a signature: the first call will tell
        return True
    required = [p for p in signature.parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    return len(required) == 1 and required[0].kind in {
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    }


def check_target(target: object) -> None:
    """Check that a target is an argument's name, a plain template, or a hook.

    Args:
        target: what the contract says.

    Raises:
        ContractError: code ``contract_target``, or ``contract_hook_signature``.
    """
    if target is None:
        return
    if not isinstance(target, str):
        check_hooks({"target": target})
        return
    try:
        fields = template_fields(target) if "{" in target or "}" in target else [target]
    except ValueError:
        fields = []
    if not fields or not all(field.isidentifier() for field in fields):
        raise ContractError(
            "target must name an argument, be a template of argument names, or a hook.",
            todo='Write target="order_id", target="order/{order_id}", or a function of the action.',
            code="contract_target",
        )


def template_fields(template: str) -> list[str]:
    """Return the argument names in a template.

    Args:
        template: such as ``"order/{order_id}"``.

    Raises:
        ValueError: the braces do not match, or a field converts or formats its value.
    """
    fields = []
    for _, field, spec, conversion in string.Formatter().parse(template):
        if field is not None:
            if spec or conversion:
                raise ValueError("a template only names arguments")
            fields.append(field)
    return fields


def check_combination(
    hooks: Mapping[str, object], *, watch: object, sql: bool, keyed_for: object, refusals: object
) -> None:
    """Check that what is given can work together.

    Args:
        hooks: hooks by field, None where not given.
        watch: the watched fields, or None.
        sql: the effect is SQL on the ledger's connection.
        keyed_for: how long the provider honours the key, or None.
        refusals: what answers mean, or None.

    Raises:
        ContractError: codes ``contract_needs_read`` and ``contract_sql``.
    """
    for field, given in (("expect", hooks["expect"]), ("watch", watch)):
        if given is not None and hooks["read"] is None:
            raise ContractError(
                f"{field} needs read: there is no record to hold it against.",
                todo="Add read=, a hook that returns the record as it is now, or leave it out.",
                code="contract_needs_read",
            )
    for field, given in (("keyed_for", keyed_for), ("find", hooks["find"]), ("refusals", refusals)):
        if sql and given is not None:
            raise ContractError(
                f"sql=True and {field}= contradict: an effect that commits with its record is never in doubt.",
                todo=f"Leave {field} out, or sql=True if the effect is not SQL on the ledger's connection.",
                code="contract_sql",
            )


def redacted_paths(redact: Redact, explain: Collection[str]) -> frozenset[str]:
    """Return the paths of what is kept out of the record, in one Unicode form.

    Free text may be worded anew without a new request; what runs is then what people saw, from the record: so the words
    people approve have to be there.

    Args:
        redact: what the contract says: one path, several, or path → roles.
        explain: the free-text arguments.

    Raises:
        ContractError: not a path of field names (``contract_redacted_path``), or one that leads into free text
            (``contract_redacted_words``).
    """
    given = tuple(redact) if isinstance(redact, Mapping) else redact
    paths = names([unicodedata.normalize("NFC", path) for path in names(given, field="redact")], field="redact")
    for path in paths:
        if not is_path(path):
            raise ContractError(
                f"redact names {path!r}, which is no path of field names and would hide nothing.",
                todo='Write names joined by dots, such as "customer.iban". Lists on the way are gone through by '
                "themselves, without an index or a wildcard.",
                code="contract_redacted_path",
            )
    both = sorted(name for name in explain if paths_inside(name, paths))
    if both:
        raise ContractError(
            f"redact and explain both name {', '.join(both)}: words not on record could be swapped after approval.",
            todo="Keep the field in one of the two. A text that is itself the change is no explanation.",
            code="contract_redacted_words",
        )
    return frozenset(paths)


def shown_to(redact: Redact) -> Mapping[str, frozenset[str]]:
    """Return which roles see what is redacted for all others: path → roles.

    Args:
        redact: what the contract says, its paths checked already.

    Raises:
        ContractError: a role is no text, empty, or named twice (``contract_names``), or is shown what lies inside of
            what it is not shown (``contract_redacted_path``).
    """
    if not isinstance(redact, Mapping):
        return {}
    told = ((path, names(roles, field=f"redact of {path}")) for path, roles in redact.items())
    shown = {unicodedata.normalize("NFC", path): frozenset(roles) for path, roles in told}
    for outer, seen in shown.items():
        for path, roles in shown.items():
            if path.startswith(f"{outer}.") and not roles <= seen:
                raise ContractError(
                    f"redact shows {path!r} to {', '.join(sorted(roles - seen))}, and all of {outer!r} to others.",
                    todo="Show them both, or name one by one what else is hidden.",
                    code="contract_redacted_path",
                )
    return {path: roles for path, roles in shown.items() if roles}


def check_roles(contracts: Mapping[str, "Contract"], roles: Collection[str]) -> None:
    """See that the roles which see what is redacted are the policy's.

    Args:
        contracts: by tool.
        roles: the policy's.

    Raises:
        ContractError: one is not (``contract_unknown_role``).
    """
    for tool, contract in contracts.items():
        for path, shown in sorted(contract.shown_to.items()):
            unknown = sorted(shown.difference(roles))
            if unknown:
                raise ContractError(
                    f"{tool}: redact shows {path!r} to {', '.join(unknown)}, and the policy has no such role.",
                    todo=f"Name one of: {', '.join(sorted(roles)) or 'none, there are no roles'}; or add it to the "
                    "policy's `roles`, and start again.",
                    code="contract_unknown_role",
                )


def name_of(tool: object) -> str:
    """Return a tool's or function's name.

    Args:
        tool: a function or a ``BaseTool``.
    """
    return tool.name if isinstance(tool, BaseTool) else getattr(tool, "__name__", type(tool).__name__)


def argument_names(tool: BaseTool | Callable[..., Any]) -> tuple[str, ...] | None:
    """Return what a tool or function can be called with; None where that is open (``**kwargs``).

    Args:
        tool: a function or a ``BaseTool``.
    """
    if isinstance(tool, BaseTool):
        return tool_parameters(tool).names
    try:
        parameters = inspect.signature(tool).parameters
    except (TypeError, ValueError):
        return None
    if any(about.kind is about.VAR_KEYWORD for about in parameters.values()):
        return None
    return tuple(parameters)


def check_arguments(contract: "Contract", name: str, taken: Collection[str] | None) -> None:
    """Check that the arguments a contract names are the tool's.

    Args:
        contract: the contract.
        name: the tool's name.
        taken: what :func:`argument_names` returned.

    Raises:
        ContractError: code ``contract_unknown_argument``.
    """
    if taken is None:
        return
    named: list[tuple[str, Sequence[str]]] = [("key", contract.key), ("explain", contract.explain)]
    if isinstance(contract.target, str):
        named.append(("target", template_fields(contract.target) if "{" in contract.target else (contract.target,)))
    if contract.link is not None:
        named.append(("link", template_fields(contract.link)))
    for field, arguments in named:
        for argument in arguments:
            if argument not in taken:
                raise ContractError(
                    f"Tool {name}: {field} names {argument}, which is none of its arguments.",
                    todo=f"It takes {', '.join(taken) or 'no arguments'}.",
                    code="contract_unknown_argument",
                )


def check_defaults(contract: "Contract", tool: BaseTool) -> None:
    """Check that a call of a write is the same call when it is repeated, also where an argument is left to its default.

    Args:
        contract: the contract.
        tool: the tool.

    Raises:
        ContractError: code ``contract_default_made``: a function makes a default, and an identifying argument would be
            another after a crash, or a call another than the one that was approved.
    """
    if not contract.is_write:
        return
    made = made_defaults(tool)
    for argument in contract.key:
        if argument in made.by_function:
            raise ContractError(
                f"Tool {tool.name}: key names {argument}, and a function makes its default: what is made anew with "
                "each call identifies nothing, and the change would be done twice.",
                todo=f"Have the model send {argument}, give it a constant default, or leave it out of key.",
                code="contract_default_made",
            )
    anew = [argument for argument in tool_parameters(tool).names if argument in made.anew - set(contract.explain)]
    if anew:
        raise ContractError(
            f"Tool {tool.name}: the default of {anew[0]} is another with each call, so that no repeat of a call is the "
            "call that was approved or done.",
            todo=f"Make the value in the tool's body (current_action().key is the same in each repeat), or name "
            f"{anew[0]} in explain=: then what is on record runs.",
            code="contract_default_made",
        )


def check_money(contract: "Contract", tool: BaseTool) -> None:
    """Check that no parameter of a write that moves money is a float: each call of it would be refused.

    Args:
        contract: the contract.
        tool: the tool.

    Raises:
        ContractError: code ``contract_money_float``.
    """
    if contract.impact is not Impact.MONEY:
        return
    floats = float_parameters(tool, free_text=contract.explain)
    if floats:
        raise ContractError(
            f"Tool {tool.name}: {floats[0]} is, or holds, a float where money is declared.",
            todo="Declare it as Decimal: what a model sends is then parsed exactly. Or take integer minor units.",
            code="contract_money_float",
        )


def check_new_name(name: str, seen: set[str]) -> None:
    """Check that no earlier tool has this name, and remember it.

    Args:
        name: the tool's name.
        seen: the names so far; added to.

    Raises:
        ContractError: code ``contract_duplicate_tool``; or ``contract_value``: it is too long for the record, or does
            not print.
    """
    check_text(name, field="a tool's name", needed=True)
    if name in seen:
        raise ContractError(
            f"Two tools are named {name}: one contract would stand for both.",
            todo="Rename one of them.",
            code="contract_duplicate_tool",
        )
    seen.add(name)


def check_none_left(contracts: Mapping[str, object], tools: Collection[str]) -> None:
    """Check that every contract found its tool.

    Args:
        contracts: those that did not.
        tools: the names of the tools there are.

    Raises:
        ContractError: code ``contract_unknown_tool``.
    """
    if contracts:
        raise ContractError(
            f"contracts= names {', '.join(sorted(contracts))}, which is none of the tools.",
            todo=f"The tools are {', '.join(sorted(tools)) or 'none'}.",
            code="contract_unknown_tool",
        )
