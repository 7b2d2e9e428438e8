"""The HTTP face of the billing service, and where its faults are played."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.billing import judge
from demo.billing.books import Answer, Books, Kind, Order, Write, problem
from demo.billing.faults import Fault, FaultKind, Schedule
from demo.billing.wire import Dropped

Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(min_length=1, max_length=10_000)]


def cents(amount: str) -> int:
    """Read an amount that matches :data:`Money`."""
    whole, _, fraction = amount.partition(".")
    return int(whole) * 100 + int(fraction.ljust(2, "0"))


def _above_zero(amount: str) -> str:
    if not cents(amount):
        raise ValueError("an amount is above zero")
    return amount


Money = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,2})?$"), AfterValidator(_above_zero)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RefundAsked(_Asked):
    """Body of ``POST /refunds``."""

    order_id: Name
    amount: Money
    reason: Text


class MessageAsked(_Asked):
    """Body of ``POST /emails`` and ``POST /notes``."""

    to: Name
    text: Text


class OrderAsked(_Asked):
    """Body of ``PUT /orders/{id}``."""

    total: Money
    customer: Name = "customer"
    currency: Name = "EUR"
    status: Literal["paid", "locked"] = "paid"
    flagged: bool = False


CHANGES: Final = ("/refunds", "/emails", "/notes")

Perform = Callable[[int, Fault | None], Answer | None]
"""What a request asks for: request id and the fault being played → the answer, None if there is none yet."""


class Service:
    """The billing service over its books.

    Args:
        books: the record; closed with the service.
        honour_keys: whether an ``Idempotency-Key`` is honoured; without, a repeat is a second effect.
    """

    def __init__(self, books: Books, *, honour_keys: bool) -> None:
        self._books = books
        self._honour_keys = honour_keys
        self._schedule = Schedule()
        self._pending: dict[int, tuple[asyncio.TimerHandle, Write]] = {}

    def app(self) -> Starlette:
        """Return the ASGI application."""
        routes = [
            Route("/refunds", self._refund, methods=["POST"]),
            Route("/refunds", self._refunds, methods=["GET"]),
            Route("/emails", partial(self._message, kind=Kind.EMAIL), methods=["POST"]),
            Route("/notes", partial(self._message, kind=Kind.NOTE), methods=["POST"]),
            Route("/orders/{id}", self._order, methods=["GET"]),
            Route("/orders/{id}", self._put_order, methods=["PUT"]),
            Route("/faults", self._add_fault, methods=["POST"]),
            Route("/faults", self._clear_faults, methods=["DELETE"]),
            Route("/log", self._log, methods=["GET"]),
            Route("/log/{what}", self._log_page, methods=["GET"]),
        ]
        return Starlette(
            routes=routes, lifespan=self._lifespan, exception_handlers={ValidationError: self._unprocessable}
        )

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        yield
        # What was taken on lands, also when the service is told to stop first.
        for handle, write in self._pending.values():
            handle.cancel()
            self._books.carry_out(write)
        self._books.close()

    # The system of record

    async def _refund(self, request: Request) -> Response:
        asked = RefundAsked.model_validate_json(await request.body())
        return await self._write(request, Kind.REFUND, asked.order_id, asked.reason, cents(asked.amount))

    async def _message(self, request: Request, *, kind: Kind) -> Response:
        asked = MessageAsked.model_validate_json(await request.body())
        return await self._write(request, kind, asked.to, asked.text, None)

    async def _order(self, request: Request) -> Response:
        order_id = request.path_params["id"]
        return await self._treat(request, "/orders", order_id, lambda _id, _fault: self._books.order(order_id))

    async def _refunds(self, request: Request) -> Response:
        order_id, action_key = request.query_params.get("order_id"), request.query_params.get("action_key")
        find = partial(self._books.refunds, order_id=order_id, action_key=action_key)
        return await self._treat(request, "/refunds", order_id, lambda _id, _fault: find())

    async def _write(self, request: Request, kind: Kind, target: str, text: str, amount_cents: int | None) -> Response:
        def perform(request_id: int, fault: Fault | None) -> Answer | None:
            write = Write(
                request_id=request_id,
                kind=kind,
                target=target,
                text=text,
                cents=amount_cents,
                action_key=request.headers.get("x-action-key"),
                idempotency_key=request.headers.get("idempotency-key") if self._honour_keys else None,
                visible_after_ms=fault.visible_after_ms if fault else 0,
            )
            if (known := self._books.reserve(write)) is not None:
                return known
            if fault and fault.kind in {FaultKind.APPLY_LATE, FaultKind.APPLY_LATE_SILENT}:
                self._later(write, fault.delay_ms)
                return None
            return self._books.carry_out(write)

        return await self._treat(request, request.url.path, target, perform)

    def _later(self, write: Write, delay_ms: int) -> None:
        def land() -> None:
            del self._pending[write.request_id]
            self._books.carry_out(write)

        handle = asyncio.get_running_loop().call_later(delay_ms / 1_000, land)
        self._pending[write.request_id] = (handle, write)

    async def _treat(self, request: Request, path: str, target: str | None, perform: Perform) -> Response:
        """Log the request, play the fault that is due, and answer; where there is no answer, close the connection."""
        request_id = self._books.receive(method=request.method, path=path, target=target, headers=dict(request.headers))
        fault = self._schedule.pick(request.method, path, target)
        answer: Answer | None
        played = fault.kind if fault else None
        match played:
            case FaultKind.DROP_BEFORE:
                answer = None
            case FaultKind.RATE_LIMIT:
                answer = problem(429, "slow_down", "too many requests")
            case FaultKind.ERROR_BEFORE:
                answer = problem(500, "broken", "failed before doing anything")
            case FaultKind.REFUSE:
                answer = problem(422, "impossible", "this cannot be done")
            case FaultKind.APPLY_THEN_DROP:
                perform(request_id, fault)
                answer = None
            case FaultKind.ERROR_AFTER:
                perform(request_id, fault)
                answer = problem(502, "bad_gateway", "failed after doing it")
            case _:
                answer = perform(request_id, fault)
        if fault and fault.kind is FaultKind.SLOW:
            await asyncio.sleep(fault.delay_ms / 1_000)
        self._books.end(request_id, status=answer.status if answer else None, fault=played)
        return _response(answer, fault)

    # The levers and the log

    async def _put_order(self, request: Request) -> Response:
        asked = OrderAsked.model_validate_json(await request.body())
        order = Order(
            id=request.path_params["id"],
            customer=asked.customer,
            cents=cents(asked.total),
            currency=asked.currency,
            status=asked.status,
            flagged=asked.flagged,
        )
        self._books.put_order(order)
        return _response(self._books.order(order.id), None)

    async def _add_fault(self, request: Request) -> Response:
        self._schedule.add(Fault.model_validate_json(await request.body()))
        return Response(status_code=204)

    async def _clear_faults(self, _request: Request) -> Response:
        self._schedule.clear()
        return Response(status_code=204)

    async def _log(self, _request: Request) -> Response:
        return JSONResponse({**judge.summary(self._books.db), "pending": len(self._pending)})

    async def _log_page(self, request: Request) -> Response:
        after = request.query_params.get("after", "")
        after_id = int(after) if after.isdecimal() else 0
        pages = {
            "keys": lambda: judge.keys(self._books.db, after=after),
            "effects": lambda: judge.effects(self._books.db, after=after_id),
            "requests": lambda: judge.requests(self._books.db, after=after_id),
        }
        page = pages.get(request.path_params["what"])
        return JSONResponse(page()) if page else Response(status_code=404)

    async def _unprocessable(self, request: Request, error: Exception) -> Response:
        """Answer 422 with the fields at fault, not with what was in them; log it where a change was asked for."""
        if request.method == "POST" and request.url.path in CHANGES:
            request_id = self._books.receive(
                method="POST", path=request.url.path, target=None, headers=dict(request.headers)
            )
            self._books.end(request_id, status=422, fault=None)
        errors = error.errors(include_input=False, include_url=False) if isinstance(error, ValidationError) else []
        fields = [{"field": ".".join(map(str, one["loc"])), "problem": one["type"]} for one in errors]
        return JSONResponse({"error": "invalid", "fields": fields}, 422)


def _response(answer: Answer | None, fault: Fault | None) -> Response:
    if answer is None:
        return Dropped(silent=fault is not None and fault.kind is FaultKind.APPLY_LATE_SILENT)
    pause = fault.retry_after_seconds if fault and fault.kind is FaultKind.RATE_LIMIT else None
    return JSONResponse(answer.body, answer.status, None if pause is None else {"Retry-After": str(pause)})
