"""What is sold and for how much: models, price rules, levels and their permissions. Knows no ledger."""
