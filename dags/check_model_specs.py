"""Reports invalid model.yaml files as one import error in the web UI; defines no Dag of its own.

(Airflow only parses files that contain the words "airflow" and "dag".)
"""

from evergreen.model_dags import readable_specs
from include.core.errors import ModelSpecError

_, errors = readable_specs()
if errors:
    raise ModelSpecError("\n".join(errors))
