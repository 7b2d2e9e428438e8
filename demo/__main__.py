"""``make demo``: a support agent, a billing service, and what can go wrong between them. Takes less than a minute."""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from langchain_core.language_models import BaseChatModel

from demo.agent import POLICY, billing_client, support_agent
from demo.billing.client import BillingProcess
from demo.desk import Desk
from demo.evidence import evidence
from demo.ground import ground
from demo.report import count
from demo.story import LARGE, SCENES, tell
from demo.telling import Teller, say
from demo.tickets import Scene
from demo.worker import chat_model
from langgraph_control import Control, ControlError, Policy


def main() -> int:
    """Play the story and return 0 if every claim in it held, 1 if one did not, 2 if it could not be played."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="What langgraph-control does, by example.")
    parser.add_argument("--dsn", help="admin login of a Postgres to use; by default an embedded one")
    parser.add_argument("--approver-dsn", help="login on that Postgres to approve with; by default one of the demo's")
    parser.add_argument("--model", help="a model by LangChain's name, openai:… ; by default a script")
    named = {scene.play.__name__: scene for scene in SCENES}
    parser.add_argument("--scene", action="append", choices=named, help="play only this one; may be repeated")
    options = parser.parse_args()
    scenes = [scene for name, scene in named.items() if options.scene is None or name in options.scene]
    if options.approver_dsn and not options.dsn:
        parser.error("--approver-dsn is a login on the server of --dsn; give both")
    try:
        model = chat_model(options.model)
    except Exception as unusable:  # noqa: BLE001 - each provider has errors of its own
        parser.error(f"--model: {_first_line(unusable)}")
    try:
        return play(scenes, dsn=options.dsn, approver_dsn=options.approver_dsn, model=model, model_name=options.model)
    except ControlError as error:
        sys.stderr.write(f"demo: {error}\n")
    except KeyboardInterrupt:
        sys.stderr.write("demo: stopped\n")
    except Exception as failed:
        if options.model is None:
            raise
        # Each provider has errors of its own: a key that is missing, a model that is not there.
        sys.stderr.write(f"demo: {options.model} failed with {type(failed).__name__}: {_first_line(failed)}\n")
    return 2


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def play(
    scenes: Sequence[Scene] = SCENES,
    *,
    dsn: str | None = None,
    approver_dsn: str | None = None,
    model: BaseChatModel,
    model_name: str | None = None,
) -> int:
    """Set everything up, play, count, and take everything down again.

    Args:
        scenes: what to play.
        dsn: the admin login of a given server; None for an embedded one.
        approver_dsn: an approver's login on it.
        model: the agent's model.
        model_name: its name, for agents in other processes; None for the script.
    """
    say("A support agent refunds orders through a billing service. Each refund passes a")
    say("gate: decided by a policy, recorded before it happens, done once. The billing")
    say("service runs in a process of its own and keeps its own log: it is the judge.")
    started = time.monotonic()
    teller = Teller()
    with ExitStack() as leaving:
        policy = Policy.parse(POLICY.read_text("utf-8"), source=POLICY.name)
        where = leaving.enter_context(ground(policy, dsn=dsn, approver_dsn=approver_dsn))
        billing = leaving.enter_context(BillingProcess())
        control = leaving.enter_context(Control(policy, dsn=where.agent))
        agent = support_agent(control, billing_client(billing.url), model)
        desk = Desk(ground=where, billing=billing, control=control, agent=agent, model_name=model_name)
        ready = time.monotonic()
        say()
        say(f"Ready in {ready - started:.1f} s: {where.what}; billing on {billing.url}.")
        runs = tell(desk, teller, scenes)
        count(desk, teller, scenes, runs)
        if runs:
            one = runs.get(LARGE) or next(iter(runs.values()))
            teller.scene("The record of one run", "Who, what, when and why, from the trigger to the outcome.")
            teller.claim("shown from the record alone", holds=desk.command("show", one.id) == 0)
            teller.claim("its chain of hashes is whole", holds=desk.command("verify", one.id) == 0)
            evidence(desk, teller, one)
        took = time.monotonic() - ready
    say()
    for claim in teller.wrong:
        say(f"WRONG: {claim}")
    say(f"{'Something is wrong' if teller.wrong else 'Everything held'}. {took:.0f} s.")
    return 1 if teller.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
