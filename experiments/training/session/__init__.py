"""The monitored session: runs the train op under hooks, saves, restores, recovers."""
