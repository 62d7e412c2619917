"""What commands print: runs, comparisons, catalogues, as text."""
