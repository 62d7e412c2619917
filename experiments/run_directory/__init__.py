"""Run directories: files, rows, checkpoints; written by a run, read by everybody."""
