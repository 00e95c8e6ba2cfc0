# The service without PyTorch: wheels are resolved in one stage, and only the finished environment goes into the next.
#
#   docker build -t listwright .                                         CPU
#   docker build -t listwright:cpu-redis --build-arg EXTRA=cpu,redis .   CPU, with live values of items from a Redis
#   docker build -t listwright:gpu --build-arg EXTRA=gpu .               NVIDIA GPU; CUDA's libraries come as wheels
#   docker build -t listwright:load --build-arg EXTRA=load .             the load generator of docker-compose.yml
#
# EXTRA names exactly one of cpu, gpu and load, and any of the others beside it (redis, otel, store, train, ray).
# REVISION, the commit, goes into the labels. The base is a tag, so that each build has Debian's and Python's newest fixes;
# for a build that can be made again say --build-arg PYTHON_IMAGE=python@sha256:... It has the pip of the image; all else
# that is installed is a wheel whose version a file of constraints pins, setuptools for our own wheel too.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
ARG EXTRA=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
RUN python -m venv /opt/venv && python -m venv /opt/build

# Dependencies first: this layer is made again only when they change.
COPY pyproject.toml constraints.txt constraints-gpu.txt deploy/requirements.py ./
RUN python requirements.py pyproject.toml "${EXTRA}" > requirements.txt \
    && /opt/venv/bin/pip install --only-binary :all: --constraint constraints.txt --constraint constraints-gpu.txt \
        --requirement requirements.txt \
    && /opt/build/bin/pip install --only-binary :all: --constraint constraints.txt setuptools

COPY LICENSE NOTICE README.md ./
COPY models/ models/
COPY export/ export/
COPY service/ service/
COPY loadtest/ loadtest/
# Without isolation, in which pip would fetch the newest setuptools.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /opt/dist . \
    && /opt/venv/bin/pip install --no-deps --no-index /opt/dist/listwright-*.whl \
    && /opt/venv/bin/python -m compileall -q /opt/venv/lib

FROM ${PYTHON_IMAGE} AS runtime
ARG PYTHON_IMAGE
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Listwright" \
      org.opencontainers.image.description="List-level, multi-objective re-ranking inside a 19 ms budget" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
      org.opencontainers.image.revision="${REVISION}"
# The uid is fixed so that mounts and a pod's runAsUser can name it.
RUN groupadd --gid 10001 listwright \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin listwright
COPY --from=builder /opt/venv /opt/venv
COPY LICENSE NOTICE /usr/share/doc/listwright/
COPY deploy/listwright-ready /usr/local/bin/
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The user has no home. Optimised graphs then live as long as the container, for reloads and further workers; mount a
# volume here to keep them longer.
ENV LISTWRIGHT_CACHE_FOLDER=/tmp/listwright
USER 10001:10001
# Mount a folder of your own at /bundles; without one the embedded demo bundle is served.
WORKDIR /
# The admin port, 8001, stays on the container's loopback and is not exposed.
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["listwright-ready"]
CMD ["listwright", "serve", "--host", "0.0.0.0", "--port", "8000"]
