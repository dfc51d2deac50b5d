"""The ways in: fetch or receive changes, and turn them into domain events."""
