"""The methods, one file each; see `osad.methods.registry`."""
