"""Whether buckets work, whether what lies in them is what was counted."""
