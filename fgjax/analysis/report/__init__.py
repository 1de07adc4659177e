"""The report."""

import json
import pickle
from pathlib import Path


def write(content, pictures, folder):
    Path(folder).mkdir(parents=True, exist_ok=True)
    pickle.dump((content, pictures), open(Path(folder) / "raw.pkl", "wb"))
    (Path(folder) / "report.json").write_text(json.dumps(content))
