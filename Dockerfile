# Two images from one file:  docker build --target api .   docker build --target worker .
# `api` holds no TensorFlow and starts at once; `worker` is the same code with the engine's packages.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# --- Penjing itself as a wheel ---------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS wheel
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY deploy/requirements-build.lock deploy/
RUN pip install --require-hashes -r deploy/requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY worker worker
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

# --- What both images are made of ------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS base
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    PENJING_HOME=/var/lib/penjing
# The folders exist with their owner, so that fresh volumes mounted there are writable. The
# interpreter lives outside any home folder: the box in which a job runs may read it.
RUN groupadd --system --gid 10001 penjing \
    && useradd --system --uid 10001 --gid penjing --no-create-home --home-dir /nonexistent penjing \
    && install -d -o penjing -g penjing -m 0750 /var/lib/penjing /var/lib/penjing/blobs
LABEL org.opencontainers.image.title="Penjing" \
      org.opencontainers.image.description="Makes Keras models smaller and faster, and proves what it cost" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /var/lib/penjing
STOPSIGNAL SIGTERM

# --- The API ---------------------------------------------------------------------------------
FROM base AS api
COPY deploy/requirements-api.lock /tmp/requirements.lock
RUN pip install --require-hashes -r /tmp/requirements.lock && rm /tmp/requirements.lock
COPY --from=wheel /wheels /tmp/wheels
RUN pip install --no-deps /tmp/wheels/*.whl && rm -r /tmp/wheels
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
ENTRYPOINT ["python", "-m", "app.serve", "--port", "8000"]
CMD ["--host", "0.0.0.0"]

# --- The worker ------------------------------------------------------------------------------
FROM base AS worker
ENV TF_CPP_MIN_LOG_LEVEL=2
COPY deploy/requirements-worker.lock /tmp/requirements.lock
RUN pip install --require-hashes -r /tmp/requirements.lock && rm /tmp/requirements.lock
COPY --from=wheel /wheels /tmp/wheels
RUN pip install --no-deps /tmp/wheels/*.whl && rm -r /tmp/wheels
USER 10001:10001
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-m", "worker.health"]
ENTRYPOINT ["celery", "--quiet", "--app", "worker.celery_app", "worker", "--pool", "threads"]
CMD ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
