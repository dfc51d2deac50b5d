"""The admin API: what the hub knows, page by page or as CSV, and what a person can do about it."""
