"""Installs what `make up` and `make test` need. Standard library only: it runs before anything is installed."""
