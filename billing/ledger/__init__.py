"""What was taken: accounts, immutable entries, charges, holds and refunds."""
