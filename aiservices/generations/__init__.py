"""What is made: images and videos, from the request to its settlement."""
