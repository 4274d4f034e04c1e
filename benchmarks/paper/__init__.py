"""The paper's experiments, done again where the truth is known: each module is a command with numbers and a figure."""
