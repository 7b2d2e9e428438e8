"""A chat model that plays a written script: deterministic, offline, sync and async.

Each call of the model plays the script's next answer. An answer is an `AIMessage`, a string, or a callable that is
given the messages the model would have seen and returns one of the two, so that a script can react to tool results.
A model asked more often than its script has answers raises: a loop that should have ended must not look like one
that did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolCall
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr, SkipValidation

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

__all__ = ["Answer", "ScriptExhausted", "ScriptedModel", "call", "calls"]

Answer: TypeAlias = AIMessage | str | Callable[[list[BaseMessage]], AIMessage | str]


class ScriptExhausted(AssertionError):  # noqa: N818 - a failed expectation of the test, named after what happened
    """The model was asked more often than its script has answers; write the missing answer or find the loop."""


class ScriptedModel(BaseChatModel):
    """Play `script`, one answer per call, whichever thread or event loop asks.

    Args:
        script: the answers in the order they are played; never changed by playing.
    """

    # Unvalidated, as AIMessage's validator does not expect to be tried on a function.
    script: Annotated[Sequence[Answer], SkipValidation] = Field(default=())
    _seen: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _bound_tools: list[str] = PrivateAttr(default_factory=list)
    _turn: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    @property
    def calls(self) -> list[list[BaseMessage]]:
        """The messages of every call so far, oldest first."""
        return self._seen

    @property
    def bound_tools(self) -> list[str]:
        """Names of the tools of the last `bind_tools`."""
        return self._bound_tools

    @property
    def remaining(self) -> int:
        """How many answers have not been played."""
        return len(self.script) - len(self._seen)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Note the tools' names, after converting each as a real model would, and keep playing the same script."""
        del tool_choice
        self._bound_tools = [convert_to_openai_tool(tool)["function"]["name"] for tool in tools]
        return self.bind(**kwargs) if kwargs else cast("Runnable[LanguageModelInput, AIMessage]", self)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del stop, run_manager, kwargs
        return self._play(messages)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # On the caller's loop, not on a thread as the default would: answers that look at the context see the node's.
        del stop, run_manager, kwargs
        return self._play(messages)

    def _play(self, messages: list[BaseMessage]) -> ChatResult:
        with self._turn:
            turn = len(self._seen)
            if turn >= len(self.script):
                raise ScriptExhausted(f"call {turn + 1} of a script with {len(self.script)} answers")
            self._seen.append(list(messages))
            answer = self.script[turn]
        spoken = answer(list(messages)) if callable(answer) else answer
        # A copy: LangGraph sets ids on messages, and one AIMessage may be written into several scripts.
        message = AIMessage(content=spoken) if isinstance(spoken, str) else spoken.model_copy(deep=True)
        return ChatResult(generations=[ChatGeneration(message=message)])


def call(tool: str, /, *, call_id: str = "call_1", **arguments: Any) -> ToolCall:
    """Return one tool call for `calls`; `call_id` is what the model would have made up."""
    return ToolCall(name=tool, args=arguments, id=call_id, type="tool_call")


def calls(*tool_calls: ToolCall, content: str = "") -> AIMessage:
    """Return the answer in which the model asks for these tool calls at once."""
    return AIMessage(content=content, tool_calls=list(tool_calls))
