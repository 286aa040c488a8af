"""Load and its cost."""
