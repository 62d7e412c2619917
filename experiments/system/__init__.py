"""The machine: files, signals, processes, devices, random numbers, downloads."""
