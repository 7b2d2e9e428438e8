"""Erasing, holding, dropping, restoring, and whether all is still there."""
