"""JSON: messages read and written as protojson does."""
