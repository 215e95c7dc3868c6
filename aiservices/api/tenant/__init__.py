"""`/v1`, beside OpenAI's own paths: what a tenant may know and do by itself, with its key."""
