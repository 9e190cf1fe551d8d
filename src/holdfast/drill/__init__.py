"""Faults on purpose: real servers that can be stopped, and a proxy that misbehaves on command."""
