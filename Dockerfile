# trojai-seam in a container: the batch for everybody, and NIST's command lines for a TrojAI server. See docs/container.md.
#
#   docker build -t trojai-seam .                                  # NVIDIA GPUs: torch's own wheels bring CUDA along
#   docker build -t trojai-seam:cpu --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu .
#   docker build -t trojai-seam:mitigation --build-arg TASK=mitigation --build-arg COMMIT="$(git rev-parse HEAD)" .
#
# BASE_IMAGE        Debian or Ubuntu with Python 3.11 and its venv module; nothing is installed into it
# TORCH_INDEX_URL   where torch and torchvision come from; empty: from where everything else does
# TASK              whose metaparameters lie at the fixed paths: detection or mitigation
# COMMIT            what the schema says as commit_id; empty: the version
#
# Builds behind a mirror: --secret id=pip.conf,src=pip.conf and --secret id=ca-bundle,src=ca-certificates.crt are used
# for the duration of the build and leave no trace in the image.

ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG TORCH_INDEX_URL=
ARG TASK=detection
ARG COMMIT=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1 PIP_PROGRESS_BAR=off \
    PIP_CONSTRAINT=/build/constraints-ci.txt PIP_BUILD_CONSTRAINT=/build/constraints-ci.txt
COPY constraints-ci.txt /build/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle,target=/etc/ssl/certs/ca-certificates.crt \
    python3 -m venv /opt/trojai-seam \
    && /opt/trojai-seam/bin/pip install ${TORCH_INDEX_URL:+--index-url "${TORCH_INDEX_URL}"} torch torchvision
COPY pyproject.toml README.md LICENSE CHANGELOG.md CITATION.cff CONTRIBUTING.md /build/source/
COPY round_configs /build/source/round_configs
COPY trojai_seam /build/source/trojai_seam
# What the image needs is the wheel and its dependencies; pip, headers and archives for compiling against torch are not.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle,target=/etc/ssl/certs/ca-certificates.crt \
    /opt/trojai-seam/bin/pip install /build/source \
    && mkdir -p /build/root/learned_parameters \
    && /opt/trojai-seam/bin/python -m trojai_seam.container.packaging "${TASK}" /build/root "${COMMIT}" \
    && /opt/trojai-seam/bin/pip list --format=freeze --exclude pip > /build/root/CONTENTS.txt \
    && /opt/trojai-seam/bin/pip uninstall --yes pip \
    && find /opt/trojai-seam -path '*/torch/include' -prune -exec rm -r {} + \
    && find /opt/trojai-seam -name '*.a' -delete \
    && find /opt/trojai-seam -type d -name tests -path '*/site-packages/*' -prune -exec rm -r {} + \
    && { /opt/trojai-seam/bin/python -m compileall -q -j 0 /opt/trojai-seam/lib || echo "left as source"; } \
    && chmod -R a+rX /opt/trojai-seam /build/root

FROM ${BASE_IMAGE}
COPY --from=build /opt/trojai-seam /opt/trojai-seam
COPY --from=build /build/root/ /
# No network inside, nothing written beside the code, caches where a read-only image has its temporary folder. NIST's
# commands move them below --scratch_dirpath themselves.
ENV PATH=/opt/trojai-seam/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 \
    RAY_USAGE_STATS_ENABLED=0 DO_NOT_TRACK=1 \
    XDG_CACHE_HOME=/tmp/cache MPLCONFIGDIR=/tmp/matplotlib HF_HOME=/tmp/huggingface TORCH_HOME=/tmp/torch \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
ARG COMMIT=
LABEL org.opencontainers.image.title="trojai-seam" \
      org.opencontainers.image.description="Unlearn the backdoors of TrojAI models with SEAM, and measure what it costs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${COMMIT}"
USER 1000:1000
WORKDIR /tmp
ENTRYPOINT ["/opt/trojai-seam/bin/python", "-m", "trojai_seam.container"]
