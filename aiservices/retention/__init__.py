"""How long data is kept, and how it is erased before its time.

`purge` deletes what the retention settings say is old; `erasure` takes a tenant or a user out of everything but the
numbers of the ledger; `plan` says what becomes of each table that belongs to them.
"""
