"""TLS: certificates, their private keys and authorities, in files that are reloaded while a process runs."""
