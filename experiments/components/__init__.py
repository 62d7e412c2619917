"""Everything that has a name in YAML: one folder a kind, each with a registry."""
