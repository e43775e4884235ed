"""The read-only app over published cases, and the guard in front of it."""
