"""A billing service: the system of record that the agent changes, and the judge of what was really done.

It runs in a process of its own (``python -m demo.billing``), keeps its own SQLite file, misbehaves on request and logs
each request and each effect itself.
"""
