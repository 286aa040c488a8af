"""Processes and servers for tests."""
