"""Training that knows no domain: configuration, schedules, the loop, checkpoints, run directories."""
