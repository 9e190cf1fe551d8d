"""Rules that decide: time and dice are arguments, nothing here waits, locks, logs or reads a clock."""
