"""Whether a run that is interrupted and resumed equals the one that is not: `verify_resume`."""
