# The worker as a container image: `make image-check` builds it, runs it and proves what is said here.
# Every stage begins at the same base, so that the interpreter behind the virtual environment is one.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1
WORKDIR /build
# The tools come and go with this stage; what is shipped gets no pip.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/whatsapp-worker
# In order of how seldom they change.
COPY requirements.lock requirements-build.lock ./
RUN tools/bin/pip install --require-hashes -r requirements-build.lock && \
    tools/bin/pip --python /opt/whatsapp-worker/bin/python install --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY whatsapp_worker whatsapp_worker
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . && \
    tools/bin/pip --python /opt/whatsapp-worker/bin/python install --no-deps dist/*.whl
# Place names, carriers and time zones of phone numbers: 45 MB that we never ask for.  Compiled by
# hash and never looked at again: nothing can be written where the root file system is read-only.
RUN site="$(echo /opt/whatsapp-worker/lib/python3*/site-packages)" && \
    rm -r "$site"/phonenumbers/geodata "$site"/phonenumbers/carrierdata "$site"/phonenumbers/tzdata && \
    python3 -m compileall -q --invalidation-mode unchecked-hash "$site"

FROM ${BASE_IMAGE}
# libmagic1: neonize can not be imported without it.  tini: somebody has to be process 1.
RUN apt-get update && \
    apt-get install --yes --no-install-recommends libmagic1 tini && \
    apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log && \
    if python3 -m pip --version; then \
        python3 -m pip uninstall --yes --root-user-action=ignore pip setuptools wheel; fi && \
    groupadd --gid 10001 worker && \
    useradd --uid 10001 --gid worker --home-dir /app --no-create-home --shell /usr/sbin/nologin worker && \
    install -d --owner=worker --group=worker --mode=0700 /app/session
COPY --from=build /opt/whatsapp-worker /opt/whatsapp-worker
# Off, or WhatsApp shows every message as a bot's; set here, the daemon need not start itself anew.
ENV PATH=/opt/whatsapp-worker/bin:$PATH NEONIZE_BOT_TAG=off
# The base comes with an uncompiled standard library: import once, as root, what the daemon imports.
# A library missing for this platform is found out here, too.
RUN python3 -c "import whatsapp_worker.cli, whatsapp_worker.process, whatsapp_worker.healthcheck; \
    from whatsapp_worker.whatsapp.installation import load_native; load_native(None, None)"
ENV PYTHONDONTWRITEBYTECODE=1

WORKDIR /app
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["whatsapp-worker", "healthcheck"]
ENTRYPOINT ["tini", "--", "whatsapp-worker"]
CMD ["run"]

# Last, because they change with every build.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="whatsapp-worker" \
      org.opencontainers.image.description="Sends the WhatsApp messages that services publish to RabbitMQ" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
