"""The command ``langgraph-control``."""

from langgraph_control.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; the process ends with the command's exit code."""
    app(prog_name="langgraph-control")
