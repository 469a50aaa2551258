"""How folders of images are laid out: users' own and families of public data sets."""
