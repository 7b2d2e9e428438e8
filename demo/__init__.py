"""The demonstration: a support agent at work against a billing service of its own. Example code, not in the wheel."""
