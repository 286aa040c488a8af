"""Servers that authenticate and authorize their clients, for tests."""
