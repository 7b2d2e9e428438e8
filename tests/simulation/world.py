"""The system of record: what it was asked, what it did, what it shows, and how it misbehaves."""

from dataclasses import dataclass, field
from typing import Any

import httpx

from langgraph_control.nodes.action import ABSENT, Action

__all__ = ["FORGETS_AFTER_SECONDS", "VISIBLE_WITHIN_SECONDS", "Effect", "World"]

VISIBLE_WITHIN_SECONDS = 8.0
"""What the contracts promise; late effects and read lag together stay below it."""

FORGETS_AFTER_SECONDS = 40.0
"""How long the forgetful provider remembers an idempotency key, from its first receipt."""

_REQUEST = httpx.Request("POST", "http://record.example/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One applied effect, as the system of record logged it."""

    at: float
    visible_at: float
    intent: str
    tool: str
    target: str
    amount: int
    note: str
    key: str
    attempt: int
    run_id: str


@dataclass
class World:
    """The external systems of one seed."""

    now: Any  # () -> seconds
    effects: list[Effect] = field(default_factory=list)
    landing: list[tuple[float, Effect]] = field(default_factory=list)
    remembered: dict[str, tuple[float, str]] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    lag: float = 0.0

    def settle_down(self) -> None:
        """Apply what was sent and lands late."""
        due = [effect for at, effect in self.landing if at <= self.now()]
        self.landing = [(at, effect) for at, effect in self.landing if at > self.now()]
        for effect in due:
            self._apply(effect)

    def _apply(self, effect: Effect) -> None:
        if effect.tool in ("keyed", "forgetful", "undo_keyed"):
            memory = FORGETS_AFTER_SECONDS if effect.tool == "forgetful" else 1e9
            known = self.remembered.get(effect.key)
            if known is not None and effect.at < known[0] + memory:
                return
            self.remembered[effect.key] = (effect.at, f"done {effect.target} {effect.amount}")
        self.effects.append(effect)

    def receive(self, tool: str, action: Action, fault: str, delay: float) -> str:
        """Take a request, misbehave as told, and answer or raise what a real client would raise."""
        now = self.now()
        late = delay if fault in ("late", "cut_off") else 0.0
        effect = Effect(
            at=now + late,
            visible_at=now + late + self.lag,
            intent=action.intent,
            tool=tool,
            target=action.args["target"],
            amount=action.args["amount"],
            note=action.args["note"],
            key=action.key,
            attempt=action.attempt,
            run_id=action.run_id,
        )
        match fault:
            case "refused":
                raise httpx.ConnectError("refused", request=_REQUEST)
            case "dropped":  # nothing was applied, and nobody can tell
                raise httpx.ReadTimeout("no answer", request=_REQUEST)
            case "limited":
                raise _status(429, {"Retry-After": "2"})
            case "invalid":
                raise _status(422, {})
            case "broken":  # failed before applying; a 500 does not say so
                raise _status(500, {})
            case "late":
                self.landing.append((effect.at, effect))
                raise httpx.ReadTimeout("no answer", request=_REQUEST)
            case "cut_off":  # the driver gave up on it; a thread of it goes on, and sends while its time lasts
                self.landing.append((effect.at, effect))
                raise TimeoutError
            case "answer_lost":
                self._apply(effect)
                raise httpx.RemoteProtocolError("server disconnected", request=_REQUEST)
            case _:
                self._apply(effect)
                return f"done {effect.target} {effect.amount}"

    def find(self, action: Action) -> Any:
        """Look an effect up by its action key, as far as reads show it."""
        self.settle_down()
        for effect in self.effects:
            if effect.key == action.key and effect.visible_at <= self.now():
                return f"done {effect.target} {effect.amount}"
        return ABSENT

    def read(self, action: Action) -> dict[str, Any]:
        """Return the record, as far as reads show it."""
        self.settle_down()
        target = action.args["target"]
        shown = [
            effect.amount
            for effect in self.effects
            if (effect.intent, effect.target, effect.tool) == (action.intent, target, action.tool)
            and effect.visible_at <= self.now()
        ]
        return {"refunded": sum(shown), "version": self.versions.get(f"{action.intent}/{target}", 0)}


def _status(code: int, headers: dict[str, str]) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError(
        "refused", request=_REQUEST, response=httpx.Response(code, headers=headers, request=_REQUEST)
    )
