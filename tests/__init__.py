"""Tests; see CONTRIBUTING.md for what is where."""
