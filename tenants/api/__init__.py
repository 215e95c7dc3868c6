"""`/api/auth`: platform users log in."""
