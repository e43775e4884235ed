"""Billing files: FOCUS, and AWS Cost and Usage Reports."""
