"""Reads courses and completions from Moodle and tells what differs from what was last told."""
