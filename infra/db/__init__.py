"""The hub's PostgreSQL database: tables, connections, migrations, advisory locks."""
