"""Authentication: bearer tokens, their claims, and the keys that verify their signatures."""
