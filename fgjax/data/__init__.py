"""Data: sets of labelled images, the protocols under which they are used, batches, augmentation."""

from fgjax.data.defaults import default_config
from fgjax.data.info import DatasetInfo, Examples
from fgjax.data.load import DataBundle, load
from fgjax.data.source import Source

__all__ = ["DataBundle", "DatasetInfo", "Examples", "Source", "default_config", "load"]
