"""Delivers completions to ELM, each once in effect."""
