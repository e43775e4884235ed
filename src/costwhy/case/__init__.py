"""A case: one spike with everything known about it, and what it says in tables and sentences."""
