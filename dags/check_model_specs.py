"""Reports wrong model.yaml files as one import error in the web UI; defines no DAG of its own."""

from evergreen.model_dags import spec_files
from include.core.errors import ModelSpecError
from include.core.spec_file import load_spec

mistakes = []
for path in spec_files():
    try:
        load_spec(path)
    except ModelSpecError as error:
        mistakes.append(str(error))
if mistakes:
    raise ModelSpecError("\n".join(mistakes))
