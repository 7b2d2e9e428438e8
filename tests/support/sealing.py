"""A record that is sealed and pinned, as an operator has it: a ledger, a signing key, a file of pins, runs."""

import io
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

from langgraph_control.audit.bundles import offline
from langgraph_control.audit.bundles.bundling import chains_since, export_bundle
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.seals.pins import FilePin
from langgraph_control.audit.seals.rotation import create_key
from langgraph_control.audit.seals.sealing import Sealer
from langgraph_control.audit.seals.signers import FileSigner
from tests.support.postgres import Database, cloned
from tests.support.trails import TrailWriter


@dataclass(slots=True, kw_only=True)
class SealedRecord:
    """A ledger with a signing key and a file of pins."""

    database: Database
    folder: Path
    runs: list[UUID] = field(default_factory=list)
    vkey: str = ""

    def __post_init__(self) -> None:
        self.vkey = self.vkey or str(create_key(self.database.admin, self.key))

    @classmethod
    def of_two_runs(cls, database: Database, folder: Path) -> "SealedRecord":
        """Return two finished runs, sealed and pinned one after the other."""
        with TrailWriter(database) as trail:
            trail.publish()
        made = cls(database=database, folder=folder)
        for trigger in ("ticket/1", "ticket/2"):
            made.refund(trigger)
            made.seal()
        return made

    @contextmanager
    def copied(self, superuser_dsn: str, folder: Path) -> Iterator["SealedRecord"]:
        """Yield a copy that may be changed, in a database of its own; nobody may be connected to this one."""
        with cloned(superuser_dsn, self.database.name) as database:
            shutil.copytree(self.folder, folder, dirs_exist_ok=True)
            yield replace(self, database=database, folder=folder, runs=[*self.runs])

    @property
    def key(self) -> Path:
        """The file of the signing key."""
        return self.folder / "seal.key"

    @property
    def pins(self) -> Path:
        """The file of pins."""
        return self.folder / "pins"

    def refund(self, trigger: str) -> UUID:
        """Carry a run through: nine entries."""
        with TrailWriter(self.database) as trail:
            self.runs.append(trail.refund(trigger).run_id)
        return self.runs[-1]

    def seal(self, *, pin: bool = True) -> None:
        """Seal what there is, and pin that."""
        sealer = Sealer(self.database.auditor, FileSigner(self.key), [FilePin(self.pins)] if pin else [])
        try:
            sealer.once()
        finally:
            sealer.close()

    def bundle(self, runs: Iterable[UUID] | None = None, *, payloads: bool = False, sealed_only: bool = False) -> bytes:
        """Export runs, or everything, on the auditor's login."""
        file = io.BytesIO()
        with LedgerConnection(self.database.auditor) as auditor:
            chains = chains_since(auditor.ask, None) if runs is None else runs
            export_bundle(
                auditor.ask,
                file,
                chains,
                scope="all" if runs is None else "run",
                payloads=payloads,
                sealed_only=sealed_only,
            )
        return file.getvalue()

    def verified(self, bundle: bytes, *, pinned: bool = True, newer_pins: bool = True) -> offline.Report:
        """Verify a bundle as somebody far from the database does."""
        pins = None
        if pinned:
            with self.pins.open("rb") as file:
                pins = list(offline.read_pins(file))
        lines, keys = offline.lines_of(io.BytesIO(bundle)), [offline.read_key(self.vkey)]
        return offline.verify(lines, keys=keys, pins=pins, newer_pins=newer_pins)
