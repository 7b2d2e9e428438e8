"""Outbound headers for httpx clients: on what a governed write sends, and nowhere else."""

import httpx
import pytest

from langgraph_control.errors import ContractError
from langgraph_control.httpx import instrument
from langgraph_control.nodes.action import Action
from langgraph_control.nodes.contexts import acting

KEY = "ab" * 32
REFUND = Action(tool="refund", args={}, key=KEY, intent="ticket/4711", run_id="7f6d1c1c-5d0b-4d3a-8b55-0000000000aa")


class Wire(httpx.MockTransport):
    """Notes what is sent; a request to /away is answered with a redirect to another host."""

    def __init__(self) -> None:
        self.sent: list[httpx.Request] = []
        super().__init__(self.answer)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Note, then answer."""
        self.sent.append(request)
        if request.url.path == "/away":
            return httpx.Response(307, headers={"location": "https://elsewhere.example/there"})
        return httpx.Response(200)


def ours(request: httpx.Request) -> set[str]:
    """Return which of our headers a request carries."""
    names = {"idempotency-key", "x-action-key", "x-run-id", "x-correlation-id", "traceparent"}
    return names & set(request.headers)


def test_a_write_sends_its_key_and_a_read_does_not() -> None:
    """Inside a governed write requests carry the ids, unsafe methods the idempotency key too; outside, nothing."""
    wire = Wire()
    with instrument(httpx.Client(base_url="https://billing.example", transport=wire)) as client:
        client.post("/refunds")
        with acting(REFUND, not_after=0):
            client.post("/refunds")
            client.get("/refunds")
    assert ours(wire.sent[0]) == set()
    assert wire.sent[1].headers["idempotency-key"] == KEY
    assert ours(wire.sent[2]) == ours(wire.sent[1]) - {"idempotency-key"}


async def test_an_async_client_does_the_same() -> None:
    """An AsyncClient gets an async hook, and keeps the ones it had."""
    wire, seen = Wire(), list[str]()

    async def hook(request: httpx.Request) -> None:
        seen.append(request.method)

    made = httpx.AsyncClient(base_url="https://billing.example", transport=wire, event_hooks={"request": [hook]})
    async with instrument(made) as client:
        with acting(REFUND, not_after=0):
            await client.post("/refunds")
    assert wire.sent[0].headers["idempotency-key"] == KEY
    assert seen == ["POST"]


def test_what_the_caller_set_is_kept() -> None:
    """A header that the caller gave is never overwritten."""
    wire = Wire()
    client = instrument(httpx.Client(base_url="https://billing.example", transport=wire))
    with client, acting(REFUND, not_after=0):
        client.post("/refunds", headers={"Idempotency-Key": "mine", "traceparent": "theirs"})
    assert (wire.sent[0].headers["idempotency-key"], wire.sent[0].headers["traceparent"]) == ("mine", "theirs")


def test_other_hosts_see_nothing_of_it() -> None:
    """Neither a request to another host nor a redirect to one carries a run's ids."""
    wire = Wire()
    client = instrument(httpx.Client(base_url="https://billing.example", transport=wire), hosts=["billing.example"])
    with client, acting(REFUND, not_after=0):
        client.post("https://elsewhere.example/there")
        client.post("/away", follow_redirects=True)
    direct, first, redirected = wire.sent
    assert (ours(direct), ours(redirected)) == (set(), set())
    assert len(ours(first)) == 5


def test_a_client_without_a_host_must_name_them() -> None:
    """Without a base_url and without hosts nobody has said who may see the headers."""
    with httpx.Client() as client, pytest.raises(ContractError) as caught:
        instrument(client)
    assert caught.value.code == "hosts_unknown"
