"""Two-person approval: what moves more credits than a limit is asked for by one member of staff and approved by another."""
