"""ELM's enrolment feed: polled, and turned into domain events."""
