"""Linen modules: backbones, merges, attention, pooling, heads, and the line through them."""
