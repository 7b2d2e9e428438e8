"""How a request reaches the ledger, and what becomes of it when a connection is lost."""
