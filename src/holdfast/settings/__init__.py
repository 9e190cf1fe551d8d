"""What holdfast and the application are told from outside, read once and refused when wrong."""
