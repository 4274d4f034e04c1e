"""What a run leaves behind: tables, masks and the folder that they are kept in."""
