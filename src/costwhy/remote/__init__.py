"""What talks to other hosts: HTTP, AWS and S3, and the secrets that they need."""
