"""Reports of what is on disk: tables, one sentence, figures, pages, out of run directories and comparison.json."""
