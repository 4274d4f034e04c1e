"""Graph passes: each rewrites one thing, in one file, and says what it requires and ensures."""
