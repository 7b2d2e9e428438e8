"""The record: ledger and trail, which commit together. The only room that knows Postgres.

``postgres`` has servers, logins and migrations; ``connecting`` gets requests to the ledger; ``asking`` has the requests
as values; ``people`` recognises them; ``trail`` reads entries; ``seals`` and ``bundles`` make them evidence;
``keeping`` erases, holds and restores; ``telemetry`` makes spans and metrics of it all; ``sql`` is the ledger itself.
"""
