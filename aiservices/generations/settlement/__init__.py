"""How a generation ends: what was decided, its money, and its state."""
