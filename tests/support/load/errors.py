"""Errors of load generators."""


class RefusedError(Exception):
    """A server did not answer as it should; the load ends."""
