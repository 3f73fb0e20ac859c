# syntax=docker/dockerfile:1
# Two images from one file:
#   docker build --target serve -t winnow .          answers requests; no torch, no scikit-learn, no pip
#   docker build --target train -t winnow-train .    trains and retrains
# Both run as a user without a name, and with a read-only root: only BENTOML_HOME and /tmp are written.
ARG PYTHON_IMAGE=docker.io/library/python:3.11.14-slim-bookworm

# Dependencies first: this layer changes only when the pins do.
FROM ${PYTHON_IMAGE} AS dependencies
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build
COPY pyproject.toml constraints.txt ./
RUN python3 -m venv --without-pip /opt/winnow \
 && python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
    > serve.txt \
 && python3 -m pip --python /opt/winnow/bin/python install --no-cache-dir --constraint constraints.txt --requirement serve.txt

FROM dependencies AS train-dependencies
# Training runs on processors, but the torch of PyPI for x86-64 Linux brings gigabytes of CUDA along. A CPU build of the
# same release is preferred to it wherever pip sees one: name a folder of the base image or a page that has its wheel,
# or an index of CPU builds.
ARG PIP_FIND_LINKS=""
ARG PIP_EXTRA_INDEX_URL=""
# "train images" adds the pretrained image encoder, which a bundle that was trained with it needs to go on from.
ARG EXTRAS="train"
# LightGBM runs on OpenMP; the serving image has no use for it.
RUN python3 -c 'import sys, tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; print(*(one for name in sys.argv[1:] for one in extras[name]), sep="\n")' ${EXTRAS} \
    > train.txt \
 && python3 -m pip --python /opt/winnow/bin/python install --no-cache-dir --constraint constraints.txt --requirement train.txt

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/winnow/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    BENTOML_HOME=/var/lib/winnow \
    BENTOML_DO_NOT_TRACK=True
RUN install --directory --owner=10001 --group=10001 /var/lib/winnow
WORKDIR /srv/winnow
VOLUME ["/var/lib/winnow"]

FROM base AS train
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1=12.* \
 && rm -rf /var/lib/apt/lists/*
COPY --from=train-dependencies /opt/winnow /opt/winnow
COPY service service
COPY training training
# Reports and catalogues with relative names go to where something may be written.
ENV PYTHONPATH=/srv/winnow
WORKDIR /tmp
USER 10001:10001
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "training.cli"]
CMD ["--help"]

FROM base AS serve
COPY --from=dependencies /opt/winnow /opt/winnow
COPY service service
USER 10001:10001
EXPOSE 3000
# Beyond loopback the service wants WINNOW_API_KEYS, and does not start without.
ENV BENTOML_HOST=0.0.0.0 BENTOML_PORT=3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:3000/readyz', timeout=2)"]
CMD ["bentoml", "serve", "service.app:Winnow", "--working-dir", "/srv/winnow"]
