"""From functions and tools with contracts to governed tools."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.tools import tool as as_tool

from langgraph_control.audit.connecting.store import Store
from langgraph_control.errors import ContractError
from langgraph_control.graphs.policies import Policies
from langgraph_control.nodes.contract_checks import check_roles
from langgraph_control.nodes.contracts import Contract, contract_of, resolve_contracts
from langgraph_control.nodes.tools import govern_tool

__all__ = ["governed"]


def governed(
    given: Sequence[BaseTool | Callable[..., Any]],
    contracts: Mapping[str, Contract],
    *,
    policies: Policies,
    store: Callable[[], Store],
) -> list[BaseTool]:
    """Return the tools with the gate around their bodies, in the order given.

    Args:
        given: functions and tools.
        contracts: contracts for tools one does not own, by tool name.
        policies: the rules; they are held against the tools' impacts, now and when their file changes.
        store: gives the ledger; called when a tool is.

    Raises:
        ContractError: something is no tool, has no contract or two, or shows what it redacts to a role that the policy
            does not have; the text names the tool.
        PolicyError: a rule lets money pass without an amount bounded on both sides.
    """
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise ContractError(
            f"tools is a value of type {type(given).__name__}, where a list of functions and tools is needed.",
            todo="Write control.govern([tool, …]).",
            code="tools_invalid",
        )
    if not isinstance(contracts, Mapping):
        raise ContractError(
            f"contracts is a value of type {type(contracts).__name__}, where contracts by tool name are needed.",
            todo="Write control.govern([tool, …], contracts={name: writes(…)}).",
            code="contracts_invalid",
        )
    tools = [_tool(item) for item in given]
    resolved = resolve_contracts(tools, contracts)
    without = [tool.name for tool in tools if tool.name not in resolved]
    if without:
        raise ContractError(
            f"Nobody has said what {', '.join(without)} does to the world.",
            todo="Declare each with @reads() if it changes nothing, or @writes(key=…, impact=…) if it does; "
            "for a tool you do not own, pass contracts={name: …}.",
            code="tool_ungoverned",
        )
    check_roles(resolved, policies.policy.roles)
    policies.governs({name: contract.impact for name, contract in resolved.items() if contract.impact is not None})
    return [govern_tool(tool, resolved[tool.name], store=store) for tool in tools]


def _tool(item: object) -> BaseTool:
    if isinstance(item, BaseTool):
        return item
    name = getattr(item, "__name__", type(item).__name__)
    if isinstance(item, type) or not callable(item) or not hasattr(item, "__name__"):
        raise ContractError(
            f"{name} is neither a function nor a tool.",
            todo="Pass functions declared with @reads or @writes, or LangChain tools.",
            code="tool_invalid",
        )
    if not (item.__doc__ or "").strip():
        raise ContractError(
            f"Function {name} has no docstring, which is what the model knows of a tool.",
            todo="Say in a docstring what it does.",
            code="tool_undocumented",
        )
    made = as_tool(item)
    contract = contract_of(item)
    # An async function's contract is found through the tool's coroutine, a sync one's through its func.
    return made if contract is None or contract_of(made) is contract else contract(made)
