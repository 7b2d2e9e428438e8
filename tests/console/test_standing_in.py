"""Who votes for whom, in the console: the list, letting somebody stand in, ending that."""

from datetime import UTC, date, datetime, time, timedelta

import httpx
import pytest

from tests.console.conftest import Served, cast, hidden, sign_in
from tests.console.test_security import MARKUP, dangers
from tests.support.desk import Desk, new_trigger

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).date()


def give(client: httpx.Client, to: str = "di@acme.example", **fields: str) -> httpx.Response:
    """Fill the form in."""
    csrf = hidden(client.get("/standing-in").text, "csrf")
    form = {"csrf": csrf, "to": to, "role": "", "until": TOMORROW.isoformat(), "comment": ""}
    return client.post("/standing-in/give", data={**form, **fields})


def end(client: httpx.Client, delegation: str, **fields: str) -> httpx.Response:
    """Press the button beside one."""
    csrf = hidden(client.get("/standing-in").text, "csrf")
    return client.post("/standing-in/end", data={"csrf": csrf, "delegation": delegation, "comment": "", **fields})


def test_a_stand_in_is_named_votes_and_is_ended(desk: Desk, site: Served) -> None:
    """Given in the form to the end of a day, listed with its comment, voted under, and over with a button."""
    (name,) = desk.run(desk.refunding(500), trigger=new_trigger()).approvals
    with site.signed_in() as ana:
        answer = give(ana, role="finance", comment=f"On holiday. {MARKUP}")
        assert answer.headers["location"] == "/standing-in?said=given"
        page = ana.get(answer.headers["location"]).text
        assert "From now on they vote for you" in page
        assert "On holiday." in page
        assert dangers(page) == []
        (given,) = site.console.approvals.delegations()
        assert (given.role, given.until) == ("finance", datetime.combine(TOMORROW, time.max, UTC))
        with site.signed_in("bo") as bo:
            assert "/standing-in/end" not in bo.get("/standing-in").text
            assert "Only who gave a delegation" in end(bo, str(given.delegation_id)).text
        with site.signed_in("di") as di:
            assert "di@acme.example" in di.get("/standing-in").text
            assert cast(di, name).headers["location"].endswith("?said=granted")
        assert end(ana, str(given.delegation_id)).headers["location"] == "/standing-in?said=ended"
        assert "Nobody stands in for anybody." in ana.get("/standing-in").text
    with site.browser() as client:
        assert sign_in(client, "token-di").status_code == 401


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"to": "  "}, "has to be said who"),
        ({"to": "a\x07b"}, "has to be said who"),
        ({"to": "group:leads"}, "has to be said who"),
        ({"to": "x" * 257}, "a text of 257 characters"),
        ({"to": "ANA@acme.example"}, "to oneself"),
        ({"until": ""}, "until when"),
        ({"until": "soon"}, "until when"),
        ({"until": "2020-01-01"}, "over before it begins"),
        ({"until": date(9999, 1, 1).isoformat()}, "a year at most"),
        ({"role": "admins"}, "no role of that name"),
        ({"role": "r" * 257}, "a text of 257 characters"),
    ],
)
def test_what_makes_no_delegation_is_said(site: Served, fields: dict[str, str], says: str) -> None:
    """A form that names nobody, no end, or another's role gives nothing, and says why."""
    with site.signed_in() as client:
        answer = give(client, **fields)
    assert answer.status_code == 409
    assert says in answer.text
    assert site.console.approvals.delegations() == ()


def test_a_forged_form_gives_and_ends_nothing(site: Served) -> None:
    """Without the session's secret, from elsewhere, or by GET, nobody stands in, and nobody stops doing so."""
    until = datetime.now(UTC) + timedelta(hours=1)
    elsewhere = {"origin": "https://evil.example"}
    with site.signed_in() as client:
        csrf = hidden(client.get("/standing-in").text, "csrf")
        form = {"csrf": csrf, "to": "di@acme.example", "until": str(TOMORROW)}
        assert give(client, csrf="").status_code == 403
        assert client.post("/standing-in/give", data=form, headers=elsewhere).status_code == 403
        assert client.get("/standing-in/give", params=form).status_code == 405
        assert site.console.approvals.delegations() == ()
        given = str(site.console.approvals.delegate("di@acme.example", until=until, credential="token-ana"))
        assert end(client, given, csrf="").status_code == 403
        form = {"csrf": csrf, "delegation": given}
        assert client.post("/standing-in/end", data=form, headers=elsewhere).status_code == 403
        assert end(client, "not an id").status_code == 409
        assert len(site.console.approvals.delegations()) == 1
        assert end(client, given).status_code == 303
