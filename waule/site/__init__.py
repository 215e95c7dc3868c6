"""The admin site and the pages that see every app."""
