"""A record that is sealed and pinned, as an operator has it: a ledger, a signing key, a file of pins, runs."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from langgraph_control.audit.bundles import offline
from langgraph_control.audit.bundles.bundling import chains_since, export_bundle
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.seals.pins import FilePin
from langgraph_control.audit.seals.rotation import create_key
from langgraph_control.audit.seals.sealing import Sealer
from langgraph_control.audit.seals.signers import FileSigner
from tests.support.postgres import Database
from tests.support.trails import TrailWriter


@dataclass(slots=True, kw_only=True)
class SealedRecord:
    """A ledger with a signing key and a file of pins."""

    database: Database
    folder: Path
    runs: list[UUID] = field(default_factory=list)
    vkey: str = ""

    def __post_init__(self) -> None:
        self.vkey = str(create_key(self.database.admin, self.key))

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
