"""What the services did, by hour: calls, retries, errors, bytes, capacity."""
