"""The Moodle sink: applies commands to one Moodle site in bulk and gives one result for each."""
