"""``audit erase``, ``audit retain`` and ``audit hold`` as an admin types them; and what follows a restore."""

from tests.cli.conftest import Command
from tests.support.trails import TrailWriter, bytes_of


def test_an_erasure_is_tried_then_done_then_seen(command: Command, trail: TrailWriter) -> None:
    """A dry run counts, the erasure says how much went, ``show`` tells it and ``verify`` stays OK."""
    run = trail.refund()
    admin = ("--dsn", trail.database.admin)
    dry = command("audit", "erase", run.trigger, "--comment", "asked for", "--dry-run", *admin)
    assert dry.exit_code == 0
    assert "Would be erased of 1 run" in dry.output
    done = command("audit", "erase", run.trigger, "--comment", "asked for", "--checkpoints", *admin)
    assert done.exit_code == 0
    assert "Erased of 1 run" in done.output
    assert "payloads" in done.output
    assert "the checkpoints of 1" in done.output
    auditor = ("--dsn", trail.database.auditor)
    shown = command("show", run.trigger, *auditor).output
    assert "erased:" in shown
    assert "the invoice was paid twice" in shown  # people's words on a decision stay
    verified = command("verify", run.trigger, *auditor).output
    assert "OK (10 entries, 4 payloads erased)" in verified


def test_one_action_goes_by_the_first_digits_of_its_key(command: Command, trail: TrailWriter) -> None:
    """``--action`` takes digits of a key; digits of none are refused."""
    run = trail.refund()
    admin = ("--comment", "asked for", "--dsn", trail.database.admin)
    unknown = command("audit", "erase", run.trigger, "--action", "ffff", *admin)
    assert (unknown.exit_code, "unknown_action" in unknown.output) == (1, True)
    key = trail.claim(trail.open("ticket/other"))[0].key  # another run's
    assert command("audit", "erase", run.trigger, "--action", key.hex(), *admin).exit_code == 1
    done = command("audit", "erase", run.trigger, "--action", bytes_of(f"{run.trigger}/refund").hex()[:12], *admin)
    assert "Erased of 1 run" in done.output


def test_what_is_to_be_erased_has_to_be_said_once(command: Command, trail: TrailWriter) -> None:
    """Nothing, two things at once, or checkpoints for a part of a run are refused with what to write instead."""
    end = ("--comment", "x", "--dsn", trail.database.admin)
    for arguments, code in (
        ((), "erase_selection"),
        (("--intent", "a", "--older-than", "1d"), "erase_selection"),
        (("--action", "ff"), "erase_selection"),
        (("--target", "invoice 17", "--checkpoints"), "erase_checkpoints"),
        (("--older-than", "soon"), "contract_duration"),
    ):
        refused = command("audit", "erase", *arguments, *end)
        assert (refused.exit_code, code in refused.output) == (1, True), refused.output


def test_an_age_before_all_time_erases_nothing(command: Command, trail: TrailWriter) -> None:
    """An age of thousands of years is no error."""
    trail.refund()
    done = command("audit", "erase", "--older-than", "999999999d", "--comment", "x", "--dsn", trail.database.admin)
    assert "Erased of 0 runs: nothing" in done.output


def test_a_hold_is_put_listed_and_lifted(command: Command, trail: TrailWriter) -> None:
    """What is held is refused with the way to the hold; lifted, it goes."""
    run = trail.refund()
    admin = ("--dsn", trail.database.admin)
    held = command("audit", "hold", "add", "intent", run.trigger, "--comment", "case 12", *admin)
    hold = held.output.split()[-1]
    listed = command("audit", "hold", "list", "--dsn", trail.database.auditor).output
    assert hold in listed
    assert "case 12" in listed
    refused = command("audit", "erase", run.trigger, "--comment", "x", *admin)
    assert (refused.exit_code, "Code:  held" in refused.output) == (1, True)
    assert command("audit", "hold", "lift", hold, "--comment", "closed", *admin).exit_code == 0
    assert "lifted" in command("audit", "hold", "lift", hold, "--comment", "closed", *admin).output
    assert "Nothing is held." in command("audit", "hold", "list", *admin).output
    assert command("audit", "erase", run.trigger, "--comment", "x", *admin).exit_code == 0


def test_old_months_go_and_verify_says_so(command: Command, trail: TrailWriter) -> None:
    """Entries that are too young stay; those that are old enough go, and a later verification says when."""
    trail.pass_time(days=-100)
    run = trail.open()
    request, _ = trail.claim(run)
    trail.settle(run, request)
    trail.release(run)
    trail.pass_time(days=100)
    admin = ("--dsn", trail.database.admin)
    assert (
        "No month is old enough." in command("audit", "retain", "--older-than", "400d", "--comment", "x", *admin).output
    )
    dry = command("audit", "retain", "--older-than", "30d", "--comment", "x", "--dry-run", *admin).output
    assert "would be dropped: 4 entries of 1 run" in dry
    assert (
        "was dropped: 4 entries" in command("audit", "retain", "--older-than", "30d", "--comment", "x", *admin).output
    )
    verified = command("verify", run.trigger, "--dsn", trail.database.auditor)
    assert verified.exit_code == 0
    assert "4 entries before them were dropped by retention on" in verified.output
    every = command("verify", "--all", "--dsn", trail.database.auditor).output
    assert "OK" in every
    assert "4 entries were dropped" in every


def test_a_restore_is_declared_seen_and_accepted(command: Command, trail: TrailWriter) -> None:
    """Declared, writes stand still and ``freeze --list`` says why; only ``accept-restore`` lets them go on.

    Not before a reconciliation that asked outside, unless it is said that there is none.
    """
    declared = command("declare-restored", "--comment", "from last night's snapshot", "--dsn", trail.database.admin)
    assert declared.exit_code == 0
    ana = ("--dsn", trail.database.approver("ana"))
    listed = command("freeze", "--list", *ana).output
    assert "restored by" in listed
    assert "from last night's snapshot" in listed
    refused = command("unfreeze", "tenant", "--comment", "x", *ana)
    assert (refused.exit_code, "Code:  restored" in refused.output) == (1, True)
    unseen = command("accept-restore", "--comment", "nothing was lost", *ana)
    assert (unseen.exit_code, "Code:  not_reconciled" in unseen.output, "entry 2" in unseen.output) == (1, True, True)
    inside = command("reconcile", "--dsn", trail.database.auditor)
    assert (inside.exit_code, "outside was not asked" in inside.output) == (0, True)
    loud = command("accept-restore", "--comment", "nothing was lost", "--unreconciled", "2", *ana)
    assert (loud.exit_code, "NOT RECONCILED" in loud.output) == (0, True)
    assert "not_restored" in command("accept-restore", "--comment", "again", *ana).output
