"""What trains when, and how fast; the proof that it was so."""
