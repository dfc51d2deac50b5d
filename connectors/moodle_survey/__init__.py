"""Reads a Moodle site in bulk: its courses, the accounts of people, the members of courses."""
