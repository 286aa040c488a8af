"""Child processes: started with a chosen environment, watched, restarted, stopped in reverse order."""
