"""What the processes share: settings, command lines, logs, lifecycle, failpoints. It imports no other package."""
