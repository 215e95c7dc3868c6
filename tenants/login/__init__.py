"""Logging in: its limits, its traces, and the second factor of staff."""
