"""How long pages and answers take on a long history."""
