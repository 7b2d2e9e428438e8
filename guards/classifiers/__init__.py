"""One module per family of clients: what each really raises, and what that tells. None of them is imported here."""
