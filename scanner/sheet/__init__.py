"""The contact sheet: chosen entries, drawn as pictures and maps with their scales."""
