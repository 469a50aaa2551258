"""The numbers in formats that others read, and the page of the results for a server."""
