"""What every API stands on: strict JSON, fields, errors, middleware."""
