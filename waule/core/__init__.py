"""The ground every app stands on. It imports no app."""
