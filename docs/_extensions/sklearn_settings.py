"""Give scikit-learn its own settings back between gallery examples."""

import sklearn


def reset(gallery_conf, name):
    """Undo what an example set by ``sklearn.set_config``."""
    sklearn.set_config(enable_metadata_routing=False, transform_output="default")
