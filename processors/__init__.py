"""The stages: pure handlers that fold events into tables and compute commands."""
