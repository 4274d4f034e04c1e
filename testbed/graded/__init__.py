"""The graded bench: pictures memorized in degrees, by how often each one was shown."""
