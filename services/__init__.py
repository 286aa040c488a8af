"""The processes that clients and operators start."""
