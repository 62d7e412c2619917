"""The texts that commands print: runs, comparisons, catalogues."""
