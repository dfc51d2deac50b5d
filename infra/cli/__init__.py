"""The command line, and the one place where the packages are wired together."""
