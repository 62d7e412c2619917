"""The statistics of a comparison: paired tests, corrected together. It knows numbers, never run folders or sentences.

numpy and scipy are imported where they are used, and of scipy the special functions alone (`special`): scipy.stats
takes seconds to import.
"""
