"""The sentences of a report: verdict and protocol."""
