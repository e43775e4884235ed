"""A case leaves the lake: published, verified, written up."""
