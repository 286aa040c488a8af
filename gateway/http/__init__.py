"""HTTP: the server and its limits, bodies, headers and metadata."""
