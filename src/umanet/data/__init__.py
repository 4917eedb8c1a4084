"""Files to samples: the index of a data set, images and their geometry, splits, checks."""
