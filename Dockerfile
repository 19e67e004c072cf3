# agentfs in a container: it mounts at /mnt/agentfs/agent, seen by the host and by other containers.
#
#   docker build -t agentfs .
#   mkdir -p /mnt/agentfs /srv/agentfs
#   docker run -d --name agentfs --device /dev/fuse --cap-add SYS_ADMIN --security-opt apparmor=unconfined \
#     -v /mnt/agentfs:/mnt/agentfs:rshared -v /srv/agentfs:/data -e AGENTFS_USER=u1 agentfs
#   docker exec agentfs agentfs status
#   docker stop -t 120 agentfs     # makes everything durable and unmounts
#
# `rshared` is what carries the mount out of the container. Flags of `agentfs mount` go after the image's name. With
# `--user agentfs` (uid 1000; fusermount3 wants one that has a name) the daemon is not root, and both directories on
# the host must belong to that uid.

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
    && ln -sf /proc/self/mounts /etc/mtab \
    && useradd --uid 1000 --create-home agentfs \
    && mkdir -p /mnt/agentfs /data \
    && chmod 1777 /mnt/agentfs /data
COPY --from=build /opt/agentfs /opt/agentfs
COPY deploy/container-entrypoint.sh /usr/local/bin/container-entrypoint
ENV PATH=/opt/agentfs/bin:$PATH \
    AGENTFS_STORE=file:///data \
    AGENTFS_ALLOW_OTHER=yes
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["agentfs", "status", "/mnt/agentfs/agent"]
ENTRYPOINT ["tini", "--", "container-entrypoint"]
