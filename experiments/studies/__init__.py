"""Questions about one configuration: its plan, its rates, its path, whether it resumes exactly."""
