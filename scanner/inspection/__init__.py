"""What a bundle is, for those who are to trust it: read from its record, and never from the device."""
