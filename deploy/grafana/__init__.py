"""The dashboards of Grafana, built from code."""
