"""The graphs of a bundle: traced, differentiated, put together and written."""
