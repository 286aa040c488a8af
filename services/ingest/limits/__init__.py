"""Limits: calls, bytes and turns at the event loop."""
