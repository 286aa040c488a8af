"""Several processes of one server on one port, so that it uses all cores of its machine."""
