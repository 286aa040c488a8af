"""Clients for tests."""
