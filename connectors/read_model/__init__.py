"""The read model: the topics as tables of PostgreSQL, for people who look things up."""
