"""Measures waule against what its database can do, side by side in one run. See `scripts/bench --help`."""
