"""TFDS builders that need no TensorFlow: they yield encoded images into array_record files."""
