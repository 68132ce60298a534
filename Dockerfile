# The image of every streamapp process: worker, sinks, replay. Runs as user 10001, without compiler
# or package manager of its own; state and caches go to two directories, all else may be read-only.
FROM python:3.11.15-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/streamapp
WORKDIR /src
COPY deploy/runtime.lock deploy/
RUN /opt/streamapp/bin/pip install --require-hashes --requirement deploy/runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY streamapp streamapp
RUN /opt/streamapp/bin/pip install --no-deps --no-build-isolation . \
    && /opt/streamapp/bin/pip uninstall --yes setuptools pip

FROM python:3.11.15-slim-bookworm
RUN groupadd --gid 10001 streamapp \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/streamapp streamapp \
    && install --directory --owner=10001 --group=10001 /var/lib/streamapp /var/cache/streamapp
COPY --from=build /opt/streamapp /opt/streamapp
ENV PATH=/opt/streamapp/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/var/cache/streamapp
USER 10001:10001
WORKDIR /var/lib/streamapp
VOLUME ["/var/lib/streamapp", "/var/cache/streamapp"]
EXPOSE 6066
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:6066/healthz', timeout=3)"]
ENTRYPOINT ["streamapp"]
CMD ["worker"]
