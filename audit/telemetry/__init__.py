"""Spans and metrics, made from the record."""
