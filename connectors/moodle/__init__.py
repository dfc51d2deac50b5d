"""What the Moodle sink and the Moodle source share: the client, the table of faults, the limits."""
