"""Comparisons: a plan of ordinary runs, executed on all cores, then read back from their run directories."""
