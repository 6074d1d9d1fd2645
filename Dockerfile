# The operator's image: the pinned dependencies and the wheel, no compiler, no sandbox.
#
#   docker build -t metronome-salesforce-operator .
#
# Both stages use one base, so that the virtual environment finds its Python in either. For a build
# that can be repeated, name the base by digest:
#
#   docker build --build-arg PYTHON_IMAGE=python:3.12-slim@sha256:... .
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# Dependencies first: they change less often than the code, and stay cached.
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python -m pip install --require-hashes --only-binary=:all: -r requirements/build.txt \
 && python -m venv --without-pip /opt/venv \
 && python -m pip --python /opt/venv/bin/python install \
      --require-hashes --only-binary=:all: -r requirements/runtime.txt

COPY pyproject.toml README.md ./
COPY crds crds
COPY operator operator
# The emulators are for laptops and tests; .dockerignore leaves them out, other builders may not.
RUN rm -rf operator/metronome_salesforce/sandbox \
 && python -m pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheels . \
 && python -m pip --python /opt/venv/bin/python install --no-deps --no-index /tmp/wheels/*.whl \
 && python -m pip --python /opt/venv/bin/python check


FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="metronome-salesforce-operator" \
      org.opencontainers.image.description="Keeps Salesforce equal to Metronome: invoices, plans, credits and daily usage" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
COPY --from=build /opt/venv /opt/venv

# kopf asks for the name of its user, and 65532 (or the number that OpenShift picks) has none in
# /etc/passwd: LOGNAME answers. The root may be mounted read-only: only /tmp is written to.
ENV PATH=/opt/venv/bin:$PATH \
    LOGNAME=operator \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["metronome-salesforce"]
CMD ["operator"]
