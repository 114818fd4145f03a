"""What the service is measured against: each is small, and does what its head says and no more."""
