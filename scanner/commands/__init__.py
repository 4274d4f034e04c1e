"""One module for each command of the CLI. They import what is heavy only when they are called."""
