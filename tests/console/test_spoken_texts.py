"""What a form says and the record cannot keep: an answer that names the field, and nothing is recorded."""

import pytest

from langgraph_control.audit.asking.operator_requests import Brakes
from tests.console.conftest import Served, cast, hidden
from tests.support.desk import Desk, new_trigger


@pytest.mark.parametrize("path", ["/writes/freeze", "/writes/unfreeze"])
@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "s" * 3000}, "name: a text of 3,000 characters"),
        ({"comment": "s" * 10_001}, "comment: a text of 10,001 characters"),
    ],
    ids=["name", "comment"],
)
def test_a_stop_of_what_can_have_no_such_name(site: Served, path: str, fields: dict[str, str], says: str) -> None:
    """Too long a name or comment is no defect of the console: it is refused by the field, and nothing stands still."""
    with site.signed_in() as client:
        csrf = hidden(client.get("/writes").text, "csrf")
        form = {"csrf": csrf, "scope": "tool", "name": "refund", "comment": "Wrong prices.", **fields}
        answer = client.post(path, data=form)
    assert (answer.status_code, says in answer.text, "ssss" in answer.text) == (409, True, False)
    assert site.console.ask(Brakes()) == ()


def test_too_long_a_comment_is_no_vote(desk: Desk, site: Served) -> None:
    """A vote with a comment that the record does not keep is none, and can be given again."""
    (name,) = desk.run(desk.refunding(500), trigger=new_trigger()).approvals
    with site.signed_in() as client:
        answer = cast(client, name, comment="s" * 10_001)
        assert (answer.status_code, "comment: a text of 10,001 characters" in answer.text) == (409, True)
        assert cast(client, name).headers["location"].endswith("?said=granted")
