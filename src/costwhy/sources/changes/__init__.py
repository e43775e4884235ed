"""Recorded changes: deployments, API calls, scaling."""
