"""Sweeps: which cells are wanted, who works on them, and what became of them."""
