"""The Helm chart as tests read it."""
