"""One module per version of the tables, each applied once, in order."""
