"""How a video waits for its worker: jobs in rows, claimed fairly, and the broker that may wake who works."""
