"""Object stores, by a real S3 protocol on the loopback interface."""
