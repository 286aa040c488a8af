"""Dashboards, alerts and Prometheus, for tests."""
