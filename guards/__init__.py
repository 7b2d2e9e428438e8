"""Decisions: pure functions over plain data. No I/O, no clock, no randomness, no LangGraph."""
