"""Student information systems: OneRoster by REST and CSV, plain CSV, and records pushed by the SIS."""
