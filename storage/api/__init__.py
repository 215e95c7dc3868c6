"""`/internal/storage` and a tenant's bucket."""
