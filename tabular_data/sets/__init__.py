"""One file for each data set, or family: how it is read, and where it is from."""
