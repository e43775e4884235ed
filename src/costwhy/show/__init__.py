"""What people see: charts, parts of pages, and what the notebooks ask for."""
