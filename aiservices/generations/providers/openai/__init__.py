"""OpenAI, or anyone who speaks its API."""
