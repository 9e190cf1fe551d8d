"""One file a figure, each measured against a named peer in the same run: `make bench`."""
