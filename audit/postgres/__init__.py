"""Postgres itself: found, started, set up, migrated, and whose logins it has."""
