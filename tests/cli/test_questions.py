"""``questions`` and ``answer`` as they are typed."""

from langgraph_control import Control, Policy
from langgraph_control.audit.asking.publishing import publish_policy
from tests.cli.conftest import Command
from tests.graphs.test_questions import POLICY, asking
from tests.support.desk import Desk, told
from tests.support.postgres import Database


def test_a_question_is_listed_answered_and_told(command: Command, database: Database) -> None:
    """What is asked is listed, the answer is taken on the approver's login, and show has both."""
    policy: Policy = POLICY
    publish_policy(database.admin, policy)
    with Control(policy, dsn=database.agent) as control:
        desk = Desk(database=database, control=control)
        run = desk.run(asking(desk, "7", "50"), trigger="ticket/4711")
        (name,) = run.questions
        ana = ("--dsn", database.approver("ana"))
        listed = command("questions", *ana)
        assert name in listed.stdout
        assert "Which amount is right?" in listed.stdout
        assert f"langgraph-control answer {run.id}" in command("show", run.id, "--dsn", database.auditor).stdout
        said = command("answer", "ticket/4711", name, "Fifty.", *ana)
        assert said.exit_code == 0, said.stderr
        assert f"Answered: {name}." in said.stdout
        assert "Nothing is asked." in command("questions", "ticket/4711", *ana).stdout
        assert 'answered: "Fifty."' in told(desk.resume(run))[0]
    shown = command("show", run.id, "--dsn", database.auditor).stdout
    for words in ("refund: what the user was asked about it is answered", "by ana@acme.example", 'answer="Fifty."'):
        assert words in shown


def test_a_name_that_is_none_is_refused(command: Command, database: Database) -> None:
    """The remedy says how a question is written."""
    said = command("answer", "ticket/1", "apr_1", "Fifty.", "--dsn", database.approver("ana"))
    assert said.exit_code == 1
    assert "Code:  question_name_invalid" in said.stderr
