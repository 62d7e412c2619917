"""The tables of a comparison, and how they are laid out."""
