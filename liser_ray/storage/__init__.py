"""Files wherever they lie: local paths and S3, and what one needs to trust them."""
