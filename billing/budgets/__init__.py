"""Calendar budgets of tenants and of their keys: their rows, and what they refuse."""
