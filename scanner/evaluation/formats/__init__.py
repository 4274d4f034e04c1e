"""Ground truth in the forms in which people have it: one file for each, and the tables that they are read from."""
