"""The agent under test: one governed tool of each kind against the real billing service, and a model that plans.

Every tool says where it is (:func:`~tests.chaos.deaths.here`), so that a worker can die between effect and record.
"""

import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import orjson
from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, StructuredTool

from demo.billing import client
from demo.billing.client import Billing
from langgraph_control import ABSENT, Action, Call, Control, Policy, current_action, reads, saga, writes
from tests.chaos.deaths import here
from tests.chaos.plans import BACK

VISIBLE_SECONDS: Final = 3.0
"""How long an effect may take to show: longer than any fault delays one, also on a busy machine."""

TIMEOUT_SECONDS: Final = 2.0
GRAPH: Final = "shop"

POLICY: Final = Policy.parse(
    """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example]}
owner: finance
approve: {within: 1h, on_expiry: deny, not_by: [requester]}
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {tool: refund, when: {amount: {gt: 100, lte: 500}}, then: approve, by: finance}
  - {tool: refund, when: {amount: {gt: 500, lte: 1000}}, then: approve, by: finance, within: 4s}
  - {tool: send_email, then: allow}
otherwise:
  - {impact: record, then: allow}
breakers: {billing: {error_rate: 0.6, open_for: 3s, probes: 2}}
""",
    source="control.yaml",
)

BOOKING_TABLE: Final = """
CREATE SCHEMA chaos;
-- Nothing is unique here: a duplicate must be able to happen, to be seen.
CREATE TABLE chaos.booking (action_key text NOT NULL, target text NOT NULL);
GRANT USAGE ON SCHEMA chaos TO control_agent;
GRANT SELECT, INSERT ON chaos.booking TO control_agent;
"""

_BOOK: Final = "INSERT INTO chaos.booking (action_key, target) VALUES (%s, %s)"


class Shop:
    """The tools of one worker.

    Args:
        billing: the service.
    """

    def __init__(self, billing: Billing) -> None:
        self._billing = billing

    def tools(self) -> list[BaseTool]:
        """Return the tools with their contracts, each with a sync and an async body."""
        explain, timeout = "reason", TIMEOUT_SECONDS
        refund = writes(
            key="target", impact="money", system="billing", explain=explain, timeout=timeout,
            find=self._find, visible_within=VISIBLE_SECONDS,
        )  # fmt: skip
        note = writes(
            key="target", impact="record", explain=explain, timeout=timeout, keyed_for="24h", undo=_back("post_note")
        )
        email = writes(key="target", impact="message", explain=explain, timeout=timeout)
        book = writes(key="target", impact="record", explain=explain, timeout=timeout, sql=True, undo=_back("book"))
        return [
            refund(_tool("refund", self._refund, self._arefund)),
            note(_tool("post_note", self._note, self._anote)),
            email(_tool("send_email", self._email, self._aemail)),
            book(_tool("book", self._book, self._abook)),
        ]

    def _refund(self, target: str, amount: Decimal, reason: str) -> str:
        return self._send(client.refund(target, str(amount), reason))

    async def _arefund(self, target: str, amount: Decimal, reason: str) -> str:
        return await self._asend(client.refund(target, str(amount), reason))

    def _note(self, target: str, reason: str) -> str:  # noqa: ARG002 - the model has to say why; the service is not told
        return self._send(client.note(target, _FIXED_TEXT), keyed=True)

    async def _anote(self, target: str, reason: str) -> str:  # noqa: ARG002 - as above
        return await self._asend(client.note(target, _FIXED_TEXT), keyed=True)

    def _email(self, target: str, reason: str) -> str:
        return self._send(client.email(target, reason))

    async def _aemail(self, target: str, reason: str) -> str:
        return await self._asend(client.email(target, reason))

    def _book(self, target: str, reason: str) -> str:  # noqa: ARG002 - as above
        action = current_action()
        action.connection.execute(_BOOK, (action.key, target))
        here("effect done")
        return "booked"

    async def _abook(self, target: str, reason: str) -> str:  # noqa: ARG002 - as above
        action = current_action()
        await action.connection.execute(_BOOK, (action.key, target))
        here("effect done")
        return "booked"

    def _find(self, action: Action) -> object:
        here("reading back")
        found = self._billing.send(client.refunds(action_key=action.key))["refunds"]
        return f"done: {found[0]['id']}" if found else ABSENT

    def _send(self, call: client.Call, *, keyed: bool = False) -> str:
        here("before the send")
        done = self._billing.send(call, headers=_headers(keyed=keyed))
        here("effect done")
        return f"done: {done['id']}"

    async def _asend(self, call: client.Call, *, keyed: bool = False) -> str:
        here("before the send")
        done = await self._billing.asend(call, headers=_headers(keyed=keyed))
        here("effect done")
        return f"done: {done['id']}"


def _back(tool: str) -> Any:
    """What takes back a note or a booking: another one, about the same with a mark."""
    return lambda action: Call(tool, target=f"{action.args['target']}{BACK}", reason="taken back")


def _move(tools: Sequence[BaseTool]) -> BaseTool:
    """The tool that runs a saga: a note, a booking, a refund, or nothing of it."""

    def step(tool: str, part: str, **more: Any) -> Any:
        return lambda so_far: Call(tool, target=f"{so_far.request['target']}-{part}", reason="part of a move", **more)

    steps = {
        "note": step("post_note", "a"),
        "booking": step("book", "b"),
        "refund": step("refund", "c", amount=Decimal(20)),
    }
    move = saga("move", steps, tools=tools)

    def run(target: str, reason: str) -> str:
        return str(move.invoke({"request": {"target": target}}, durability="sync")["outcome"])

    async def arun(target: str, reason: str) -> str:
        return str((await move.ainvoke({"request": {"target": target}}, durability="sync"))["outcome"])

    return reads()(_tool("move", run, arun))


# A keyed provider compares what comes under one key, and the model words its reasons anew each time.
_FIXED_TEXT: Final = "handled"


def _headers(*, keyed: bool) -> dict[str, str]:
    """Name the action to the service's log; only the keyed tool asks it to honour the key."""
    headers = current_action().headers
    return headers if keyed else {name: text for name, text in headers.items() if name != "Idempotency-Key"}


def _tool(name: str, func: Any, coroutine: Any) -> BaseTool:
    return StructuredTool.from_function(func, coroutine, name=name, description=f"Call {name}.")


class Planner(BaseChatModel):
    """Asks for what the first message plans, with call ids and reasons of its own making each time it is asked."""

    @property
    def _llm_type(self) -> str:
        return "planner"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Return itself: it knows the tools' names from the plan."""
        del tools, kwargs
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del stop, run_manager, kwargs
        return ChatResult(generations=[ChatGeneration(message=_answer(messages))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del stop, run_manager, kwargs
        return self._generate(messages)


def _answer(messages: list[BaseMessage]) -> AIMessage:
    asked = next(message for message in messages if isinstance(message, HumanMessage))
    steps = orjson.loads(str(asked.content))
    turn = sum(isinstance(message, AIMessage) for message in messages)
    if turn == len(steps):
        return AIMessage("All of it was asked for.")
    calls = [
        {
            "name": call["tool"],
            "args": {**call["arguments"], "reason": f"reason {random.getrandbits(32):08x}"},
            "id": f"call_{random.getrandbits(64):016x}",
            "type": "tool_call",
        }
        for call in steps[turn]
    ]
    return AIMessage(content="", tool_calls=calls)


def open_shop(control: Control, billing: Billing) -> Any:
    """Return the agent, governed and bound.

    Args:
        control: of this process.
        billing: the service.
    """
    tools = control.govern(Shop(billing).tools())
    return control.bind(create_agent(Planner(), [*tools, *control.govern([_move(tools)])]), name=GRAPH)
