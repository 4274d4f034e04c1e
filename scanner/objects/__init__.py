"""Object stores: the client of a bucket, its objects as streams, and bundles fetched from there."""
