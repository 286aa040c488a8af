"""`ugc-up`: the whole system on this machine, supervised."""
