"""For how long a pin has lacked a checkpoint, and how often it did not take one, as the sealer's process tells it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from langgraph_control.audit.seals.pinning import Pinning
from langgraph_control.audit.seals.sealing import Sealer
from langgraph_control.audit.seals.signers import FileSigner
from langgraph_control.errors import ControlError, PinFailed
from tests.support.postgres import Database
from tests.support.sealing import SealedRecord
from tests.support.trails import TrailWriter

ROOT = Path(__file__).parents[2]


class Place:
    """A pin that takes what it is given, or raises."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.given: list[str] = []
        self.raises: Exception | None = None

    def __str__(self) -> str:
        return self.name

    def pin(self, note: str) -> None:
        """Keep it, or fail."""
        self.given.append(note)
        if self.raises is not None:
            raise self.raises


class Clock:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def lags(pinning: Pinning) -> dict[str, float]:
    """Return what is told, by pin."""
    return {next(iter(of.values())): value for _, value, of in pinning.readings()}


@pytest.mark.parametrize("error", [PinFailed("no", todo="Wait."), OSError(28, "No space left on device")])
def test_a_pin_lags_from_the_first_checkpoint_it_lacks(error: Exception) -> None:
    """It is the time since the first checkpoint that a pin did not take, and 0 once it has the newest one."""
    well, ill, clock = Place("well"), Place("ill"), Clock()
    pinning = Pinning([well, ill], clock=clock)
    assert lags(pinning) == {"well": 0, "ill": 0}
    pinning.give("one", lambda *_: None)
    clock.now += 7200
    assert lags(pinning) == {"well": 0, "ill": 0}
    ill.raises = error
    for note in ("two", "two", "three"):
        pinning.give(note, lambda *_: None)
        clock.now += 600
    assert lags(pinning) == {"well": 0, "ill": 1800}
    ill.raises = None
    assert pinning.give("three", lambda *_: None) == ()
    assert lags(pinning) == {"well": 0, "ill": 0}


def test_a_pin_that_keeps_others_waiting_lags_like_them() -> None:
    """While one pin does not answer, it and those behind it lag: what they are to have is not there yet."""
    clock, seen = Clock(), dict[str, float]()

    class Slow(Place):
        def pin(self, note: str) -> None:
            super().pin(note)
            clock.now += 900
            seen.update(lags(pinning))

    pinning = Pinning([Slow("slow"), Place("behind it")], clock=clock)
    pinning.give("one", lambda *_: None)
    assert seen == {"slow": 900, "behind it": 900}
    assert lags(pinning) == {"slow": 0, "behind it": 0}


def test_of_two_pins_of_one_name_the_one_that_lags_is_told() -> None:
    """Two addresses of one host have one name; that one of them takes everything hides nothing of the other."""
    clock, ill = Clock(), Place("webhook acme.example")
    ill.raises = OSError()
    for pins in ([Place(ill.name), ill], [ill, Place(ill.name)]):
        pinning = Pinning(pins, clock=clock)
        pinning.give("one", lambda *_: None)
        clock.now += 60
        assert lags(pinning) == {ill.name: 60}


def test_a_pin_goes_on_lagging_while_nothing_can_be_signed(database: Database, tmp_path: Path) -> None:
    """A pin fails, and then the key cannot be used: it lacks what it lacked, for as long as that lasts."""
    record, ill, clock = SealedRecord(database=database, folder=tmp_path), Place("ill"), Clock()
    sealer = Sealer(database.auditor, FileSigner(record.key), [ill])
    sealer._pinning = Pinning([ill], clock=clock)
    ill.raises = OSError()
    with TrailWriter(database) as trail:
        trail.open("ticket/1")
        assert sealer.once().unpinned == (("ill", "OSError"),)
        record.key.rename(record.key.with_name("away"))
        trail.open("ticket/2")
        for _ in range(2):
            clock.now += 86_400
            with pytest.raises(ControlError):
                sealer.once()
    assert lags(sealer._pinning) == {"ill": 2 * 86_400}
    sealer.close()


def test_a_sealer_tells_of_its_pins(database: Database, tmp_path: Path) -> None:
    """A process that seals tells lag and failures of each pin of every sealer in it; a first failure is an increase."""
    told = metered_sealing(database, tmp_path)
    assert told["before"]["control.pin.failures"] == {"ill": 0, "well": 0}
    assert told["before"]["control.pin.lag"].keys() == {"ill", "well"}
    assert told["now"]["control.pin.failures"]["ill"] >= 2
    assert told["now"]["control.pin.failures"]["well"] == 0
    assert told["now"]["control.pin.lag"]["ill"] > 0
    assert told["now"]["control.pin.lag"]["well"] == 0
    assert "control.pin.lag" not in told["after"]


def metered_sealing(database: Database, folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Run the program in a process of its own, whose provider nobody else sees."""
    command = [sys.executable, "-m", "tests.support.metered_sealing", database.admin, str(folder)]
    ended = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    read: dict[str, dict[str, dict[str, Any]]] = json.loads(ended.stdout.splitlines()[-1])
    return read
