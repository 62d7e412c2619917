"""Figures: learning curves, panels, surfaces, animations; for files and for the terminal."""
