"""What fills a throw-away database."""
