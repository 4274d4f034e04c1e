"""Every key of every configuration of a checkpoint: understood, harmless, or refused by name; a table each."""
