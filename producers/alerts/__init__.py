"""Alerts of the hub's own: rules over facts, incidents that are told once, channels that tell them."""
