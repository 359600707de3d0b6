"""Stage ``control``: a trainable branch that steers a frozen diffusion backbone by a condition."""
