# Tidegate in a container. Build: docker build -t tidegate .   Run: see docs/docker.md.
ARG PYTHON=3.11

# The wheel is made where a C compiler is, so that the hot modules are compiled; neither the compiler nor pip gets into the
# image that runs.
FROM python:${PYTHON}-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --no-install-recommends --yes gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY proxy ./proxy
RUN TIDEGATE_COMPILE=1 python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
# Debian's Python and the image's are both python3, so the environment works where its interpreter is.
ARG EXTRAS=jwt
RUN python3 -m venv --without-pip /opt/tidegate \
    && python3 -m pip --python /opt/tidegate/bin/python3 install --no-cache-dir --compile "$(echo /wheels/*.whl)[${EXTRAS}]"

FROM python:${PYTHON}-slim-bookworm
LABEL org.opencontainers.image.title="Tidegate" \
      org.opencontainers.image.description="A programmable traffic-shifting reverse proxy for progressive delivery" \
      org.opencontainers.image.licenses="Apache-2.0"
# A fixed number, so that volumes and security policies can name it.
RUN groupadd --gid 10001 tidegate \
    && useradd --no-log-init --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tidegate
COPY --from=build /opt/tidegate /opt/tidegate
COPY config/container.yaml /etc/tidegate/tidegate.yaml
ENV PATH=/opt/tidegate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
# Nothing is written but below /tmp (the sockets by which a new control process takes the workers over).
WORKDIR /tmp
EXPOSE 8080 9902
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9902/healthz', timeout=2).read()"]
ENTRYPOINT ["tidegate"]
CMD ["run", "-c", "/etc/tidegate/tidegate.yaml"]
