"""What an auditor takes along, and the verifier."""
