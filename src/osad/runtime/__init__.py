"""How jobs run: their environment, their device and the resident fork server."""
