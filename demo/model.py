"""The demo's model: a script in place of a language model, so that the demo runs offline and always alike."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

ASKED: Final = re.compile(r"Refund (?P<amount>[\d.]+) EUR of order (?P<order>[\w-]+): (?P<complaint>.+)")


class ScriptedSupport(BaseChatModel):
    """Looks the order up, asks for the refund, reports what the tool said. Keeps nothing between calls."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],  # noqa: ARG002 - the script knows them
        *,
        tool_choice: str | None = None,  # noqa: ARG002 - likewise
        **kwargs: Any,  # noqa: ARG002 - likewise
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model itself."""
        return cast("Runnable[LanguageModelInput, AIMessage]", self)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - nothing is generated
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - likewise
        **kwargs: Any,  # noqa: ARG002 - likewise
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=next_message(messages))])


def next_message(messages: Sequence[BaseMessage]) -> AIMessage:
    """Return what the agent says next.

    Args:
        messages: the conversation so far.
    """
    asked = next(found for message in messages if (found := ASKED.search(str(message.content))))
    told = [str(message.content) for message in messages if isinstance(message, ToolMessage)]
    # Who says to be a regular customer is looked up, too.
    before = ["look_up_order"] + (["customer_history"] if "regular customer" in asked["complaint"] else [])
    match len(told) - len(before):
        case already if already < 0:
            return _calls(before[len(told)], order_id=asked["order"])
        case 0:
            why = f"The customer says: {asked['complaint']}"
            return _calls("refund", order_id=asked["order"], amount=asked["amount"], reason=why)
        case _:
            return AIMessage(told[-1])


def _calls(tool: str, **arguments: str) -> AIMessage:
    return AIMessage("", tool_calls=[ToolCall(name=tool, args=arguments, id=f"call_{tool}")])
