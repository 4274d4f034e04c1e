"""memscan as a process: its standard streams, signals, log, and how errors end it."""
