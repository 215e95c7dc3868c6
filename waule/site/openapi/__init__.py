"""The OpenAPI document: how its operations are named, its examples, and where it is served."""
