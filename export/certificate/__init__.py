"""What is measured of an exported bundle itself: how well its cheaper derivatives stand for the exact one."""
