"""Entries, and what is told from them alone: chains, stories, reports."""
