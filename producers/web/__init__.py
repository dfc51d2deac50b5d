"""The HTTP way in: one aiohttp application, to which the sources hand their routes."""
