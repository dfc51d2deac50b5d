"""Kafka, the schema registry and PostgreSQL on this machine, without Docker."""
