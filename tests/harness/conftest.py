"""lm-evaluation-harness in these tests: nothing may reach a hub, or write to a user's cache of data sets."""

import os
import tempfile

os.environ["HF_DATASETS_OFFLINE"] = "1"  # before `datasets` is imported
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="nbhelpers-datasets-")
