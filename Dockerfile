# agentfs in a container: it mounts at /mnt/agent, and the mount is seen by the host and by other containers.
#
#   docker build -t agentfs .
#   mkdir -p /mnt/agent /srv/agentfs
#   docker run -d --name agentfs --device /dev/fuse --cap-add SYS_ADMIN --security-opt apparmor=unconfined \
#     -v /mnt/agent:/mnt/agent:rshared -v /srv/agentfs:/data -e AGENTFS_USER=u1 agentfs
#   docker stop agentfs     # makes everything durable and unmounts
#
# `rshared` is what carries the mount out of the container.

FROM python:3.12-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libfuse3-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements/build.txt requirements/run.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/build.txt \
    && pip wheel --no-cache-dir --require-hashes --no-build-isolation -w /wheels -r requirements/run.txt
COPY pyproject.toml README.md LICENSE mount.py ./
COPY vfs vfs
RUN pip wheel --no-cache-dir --no-build-isolation --no-deps -w /wheels . \
    && python -m venv --without-pip /opt/agentfs \
    && pip --python /opt/agentfs/bin/python install --no-cache-dir --no-index --no-deps /wheels/*.whl

FROM python:3.12-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends fuse3 tini \
    && rm -rf /var/lib/apt/lists/* \
    && echo user_allow_other >> /etc/fuse.conf \
    && mkdir -p /mnt/agent /data \
    && chmod 1777 /mnt/agent /data
COPY --from=build /opt/agentfs /opt/agentfs
ENV PATH=/opt/agentfs/bin:$PATH \
    AGENTFS_STORE=file:///data \
    AGENTFS_ALLOW_OTHER=yes
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["agentfs", "status", "/mnt/agent"]
ENTRYPOINT ["tini", "--", "agentfs"]
CMD ["mount", "/mnt/agent", "--foreground"]
