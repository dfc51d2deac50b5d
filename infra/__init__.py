"""What the other packages stand on: engine, codec, settings, database, embedded services."""
