"""Transactions, connections and statements."""
