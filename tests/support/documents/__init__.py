"""Reads the documents and the code that they describe."""
