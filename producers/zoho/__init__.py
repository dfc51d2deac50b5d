"""Zoho: its sync API, its webhooks, and the pull of its CRM, turned into domain events."""
