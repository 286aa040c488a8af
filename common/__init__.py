"""What the processes share: settings, logs, lifecycle, supervision. It imports nothing of ours."""
