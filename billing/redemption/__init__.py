"""Redemption codes: batches of codes that a tenant or a user turns into credits."""
