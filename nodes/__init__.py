"""The control layer's steps and its seams to LangGraph: contracts, the gate, its drivers, the tool wrap."""
