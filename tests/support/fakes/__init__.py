"""Fakes: stores in memory that note what is asked of them."""
