# The image of a build. What changes least comes first, so that a commit that changes only code reuses the packages.
# Nothing that the first stage needs (uv, index settings, certificates, caches) is in the image.
ARG BASE
FROM ${BASE} AS packages
COPY certificates.pem uv.txt uv.env /setup/
RUN if [ -s /setup/certificates.pem ]; then export SSL_CERT_FILE=/setup/certificates.pem PIP_CERT=/setup/certificates.pem; fi \
    && set -a && . /setup/uv.env && set +a \
    && python3 -m venv /setup/uv \
    && /setup/uv/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir \
        --require-hashes --only-binary :all: --requirement /setup/uv.txt
COPY requirements.lock /setup/
# Timestamps are zeroed and bytecode does not depend on them, so that the same lock gives the same layer.
RUN if [ -s /setup/certificates.pem ]; then export SSL_CERT_FILE=/setup/certificates.pem; fi \
    && set -a && . /setup/uv.env && set +a \
    && /setup/uv/bin/uv venv --quiet --python python3 /evergreen/environment \
    && /setup/uv/bin/uv pip sync --quiet --no-cache --require-hashes --only-binary :all: \
        --python /evergreen/environment/bin/python /setup/requirements.lock \
    && { /evergreen/environment/bin/python -I -S -m compileall -q -j 0 -x '/tests?/' \
        --invalidation-mode unchecked-hash /evergreen/environment/lib || true; } \
    && mkdir /out && mv /evergreen /out/evergreen \
    && find /out -exec touch --no-dereference --date=@0 {} +

FROM ${BASE}
COPY --from=packages /out/ /
ENV PATH=/evergreen/environment/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp LANG=C.UTF-8 PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 PYTHONNOUSERSITE=1 JOBLIB_TEMP_FOLDER=/tmp
WORKDIR /evergreen
USER 10001:10001
ADD runtime.tar /
ADD code.tar /
