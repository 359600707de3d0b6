"""Stage ``probes``: what of a condition map is still in the latent (Seesaw A.3).

A small decoder learns to predict a condition map (edges, depth) of an image from its latent; the
autoencoder is frozen. How far its maps are from the true ones on the evaluation split says how much
of the condition the encoder kept, whatever the autoencoder's own decoder makes of it.

The paper's text leaves out widths, kernel sizes, learning rate and the weight of the gradient term:
they are the config's, or the constants and defaults in :mod:`seesaw.probes.network` and
:mod:`seesaw.probes.train`.
"""
