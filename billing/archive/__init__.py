"""Old months of the ledger, moved into files that `reconcile --archive` proves."""
