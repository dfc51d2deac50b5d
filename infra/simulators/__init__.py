"""Faithful stand-ins for the systems around the hub."""
