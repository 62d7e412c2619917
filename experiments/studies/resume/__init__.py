"""A run that is interrupted and resumed held against the one that is not: `verify_resume`."""
