"""The read-only app over published cases, and the wall around it."""
