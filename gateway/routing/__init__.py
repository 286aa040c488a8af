"""Routing: google.api.http rules, path templates, and the values in paths, queries and forms."""
