"""An MCP server over standard input and output whose one tool fails as it is told; run as a program.

Its first argument names a file, in which it notes each call that reached the tool.
"""

import os
import sys
import time
from pathlib import Path

from mcp.server.fastmcp import FastMCP

server = FastMCP("billing", log_level="CRITICAL")


@server.tool()
def refund(how: str) -> str:
    """Refund, or fail."""
    with Path(sys.argv[1]).open("a", encoding="utf-8") as noted:
        noted.write(f"{how}\n")
    match how:
        case "raise":
            raise ValueError("the order is locked")
        case "die":
            os._exit(1)
        case "stall":
            time.sleep(60)
    return "refunded"


if __name__ == "__main__":
    server.run()
