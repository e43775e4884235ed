"""Every source into the lake: find, read what is new, write it as one version."""
