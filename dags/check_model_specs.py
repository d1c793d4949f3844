"""Reports invalid model.yaml files as one import error in the web UI; defines no Dag of its own.

(Airflow only parses files that contain the words "airflow" and "dag".)
"""

from evergreen.model_dags import spec_files
from include.adapters.spec_file import load_spec
from include.core.errors import ModelSpecError

errors = []
for path in spec_files():
    try:
        load_spec(path)
    except ModelSpecError as error:
        errors.append(str(error))
if errors:
    raise ModelSpecError("\n".join(errors))
