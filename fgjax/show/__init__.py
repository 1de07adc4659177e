"""What a person sees: console tables, overlays, plots."""
