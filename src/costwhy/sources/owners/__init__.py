"""Who owns what: service catalogues, CODEOWNERS, tags."""
