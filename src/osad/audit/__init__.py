"""Which inputs produced this number: the ledger, and what is asked of it."""
