"""holdfast keeps a web backend standing when its database does not."""
