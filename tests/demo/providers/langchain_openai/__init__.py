"""A stand-in for the provider's package of this name: found by ``init_chat_model`` as the real one is, never online.

It differs from the demo's own script in what a real model does otherwise: tools are sent as JSON Schema, amounts come
back as JSON numbers, last words are the model's own and arrive in blocks.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from demo.model import ScriptedSupport, next_message

__all__ = ["AuthenticationError", "ChatOpenAI"]


class AuthenticationError(Exception):
    """What the provider raises without a key."""


class ChatOpenAI(ScriptedSupport):
    """Takes what ``init_chat_model`` gives it. One named ``no-key`` cannot answer, one named ``idle`` does nothing."""

    model: str

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Send the tools as the provider gets them."""
        for tool in tools:
            json.dumps(convert_to_openai_tool(tool))
        return super().bind_tools(tools, **kwargs)

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        if self.model == "no-key":
            raise AuthenticationError("no API key was given\nand more that nobody needs to see")
        asked = [] if self.model == "idle" else next_message(messages).tool_calls
        for call in asked:
            call["args"] = {name: float(value) if name == "amount" else value for name, value in call["args"].items()}
        words: list[str | dict[str, Any]] = [] if asked else [{"type": "text", "text": "That is all there is to say."}]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=words, tool_calls=asked))])
