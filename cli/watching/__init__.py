"""What is shown while something runs: progress lines, bars and boards."""
