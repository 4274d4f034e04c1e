"""The bench of real pictures: emoji, shown once to a thousand times, whole or as a part of a scene."""
