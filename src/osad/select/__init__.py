"""Choosing hyper-parameters without the test images of the tables: `osad select`."""
