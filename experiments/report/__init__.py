"""Reports over what is on disk: tables, one sentence, figures, pages, from run directories and comparison.json alone."""
