"""The record: ledger and trail, which commit together. The only room that knows Postgres."""
