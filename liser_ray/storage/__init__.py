"""Files wherever they lie, local or S3: addresses, reading and writing, listing, allowed roots, fetching weights."""
