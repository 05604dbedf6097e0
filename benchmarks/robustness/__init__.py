"""What malformed rows and files, damaged stores and killed processes do to the library."""
