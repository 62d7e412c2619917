"""Reports over what is on disk: tables, one sentence, figures, pages. Reads run directories and comparison.json only."""
