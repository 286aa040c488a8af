"""Limits of what ingest reads, holds in memory and processes at once."""
