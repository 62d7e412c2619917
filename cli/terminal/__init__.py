"""The terminal: streams, colours, live displays, charts in characters."""
