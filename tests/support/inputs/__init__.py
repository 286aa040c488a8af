"""Inputs: events, tokens, messages, and mutations of them."""
