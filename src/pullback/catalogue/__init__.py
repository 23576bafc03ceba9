"""The catalogue: every public map, loss, penalty and initialiser, with cases that try each."""
