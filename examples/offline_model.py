"""A script in place of a language model, so that the quickstart runs without a key: look up, refund, report."""

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolCall
from langchain_core.outputs import ChatGeneration, ChatResult

SCRIPT = (
    ("look_up_order", {"order_id": "A-1"}),
    ("refund", {"order_id": "A-1", "amount": "1200.00"}),
)


class OfflineModel(BaseChatModel):
    """Calls each tool of the script once, then repeats what the last one said."""

    @property
    def _llm_type(self) -> str:
        return "offline"

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> Any:  # noqa: ARG002 - the script knows them
        """Return the model itself."""
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        told = [message for message in messages if message.type == "tool"]
        if len(told) < len(SCRIPT):
            tool, arguments = SCRIPT[len(told)]
            answer = AIMessage("", tool_calls=[ToolCall(name=tool, args=arguments, id=f"call_{tool}")])
        else:
            answer = AIMessage(told[-1].content)
        return ChatResult(generations=[ChatGeneration(message=answer)])


model = OfflineModel()
