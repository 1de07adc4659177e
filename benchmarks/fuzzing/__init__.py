"""Generators of damaged and hostile inputs, and what the readers make of them."""
