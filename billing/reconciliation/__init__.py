"""The ledger recomputed from its entries, and the runs that did so."""
