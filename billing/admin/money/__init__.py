"""What moves credits by hand, and the second person who may have to approve it."""
