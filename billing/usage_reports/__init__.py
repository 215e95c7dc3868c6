"""What a tenant used, by day of its own time zone, model and key: roll-ups of the ledger that are never wrong, only old."""
