"""The files that docs/observability.md and docs/backends.md show can be read as they stand."""

import re
from pathlib import Path

import pytest

from langgraph_control.audit.telemetry.meter_names import METRICS
from langgraph_control.audit.telemetry.sinks.settings import read_sinks
from tests.docs.blocks import FENCED

ROOT = Path(__file__).parents[2]
PAGES = ("observability.md", "backends.md")
FILES = [
    found["text"]
    for page in PAGES
    for found in FENCED.finditer((ROOT / "docs" / page).read_text())
    if found["language"] == "yaml"
]
BACKENDS = ("Arize Phoenix", "Jaeger", "Grafana Tempo", "Langfuse", "Honeycomb", "Datadog", "Amazon CloudWatch")


@pytest.mark.parametrize("text", FILES)
def test_a_file_can_be_read(text: str, tmp_path: Path) -> None:
    """With its variables set, each file names its places."""
    file = tmp_path / "sinks.yaml"
    file.write_text(text)
    variables = dict.fromkeys(re.findall(r"env:(\w+)", text), "Bearer secret")
    assert read_sinks(file, environment=variables)


def test_every_backend_has_its_lines() -> None:
    """Each backend has a section, and each section a file."""
    text = (ROOT / "docs" / "backends.md").read_text()
    for name in BACKENDS:
        section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert "```yaml" in section


def test_every_metric_is_in_the_table() -> None:
    """The page names all metrics, and none that there are not."""
    section = (ROOT / "docs" / "observability.md").read_text().split("\n## Metrics\n")[1].split("\n## ")[0]
    named = {name for row in section.splitlines() if row.startswith("| `") for name in re.findall(r"`([a-z.]+)`", row)}
    assert named == {metric.name for metric in METRICS}
