"""Parts that several optimizers are built from; nothing here has a name in YAML."""
