# One file for both ways to run this project in containers:
#   astro dev start, or a deployment on Astro   Astronomer's runtime, the default
#   docker build --build-arg BASE=apache/airflow:3.3.2 .   the official image, as compose.yaml does
# The embedded platform (make up) needs neither.
ARG BASE=astrocrpublic.azurecr.io/runtime:3.3-2
FROM ${BASE}

# Astronomer's image has installed requirements.txt by now, through its ONBUILD steps; the official one has not.
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
# A volume takes its owner from the folder that it is mounted on.
RUN mkdir -p logs .evergreen/run .evergreen/targets .evergreen/mlflow/artifacts \
        .evergreen/monitoring/prometheus .evergreen/monitoring/alertmanager \
    && chmod -R go= .evergreen

# Both set AIRFLOW_HOME to the working directory, where the project now is; 'include' is imported from there.
ENV PYTHONPATH="${AIRFLOW_HOME}:${AIRFLOW_HOME}/plugins" \
    AIRFLOW__CORE__DAGS_FOLDER="${AIRFLOW_HOME}/dags" \
    AIRFLOW__CORE__PLUGINS_FOLDER="${AIRFLOW_HOME}/plugins" \
    AIRFLOW__CORE__LOAD_EXAMPLES="False" \
    EVERGREEN_HOME="${AIRFLOW_HOME}/.evergreen" \
    GX_ANALYTICS_ENABLED="false" \
    OMP_WAIT_POLICY="PASSIVE" \
    MLFLOW_DISABLE_TELEMETRY="true" \
    TQDM_DISABLE="1"
