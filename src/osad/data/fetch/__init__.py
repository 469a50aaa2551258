"""Getting what a data set's authors publish: archives, downloads, unpacking."""
