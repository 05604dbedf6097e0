"""What the library recommends; for now latent synthesis with residual decoding, 4x."""

from .lens import Lens

fit = Lens(factor=4, decode="residual")
