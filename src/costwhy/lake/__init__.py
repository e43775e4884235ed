"""The lake: versioned Delta tables, and documents that are each written once beside them."""
