"""Secrets at rest, and the rotation of their keys."""
