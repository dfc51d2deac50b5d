"""A stand-in for Zoho's CRM: OAuth, records by module (API version 2), and faults on demand."""
