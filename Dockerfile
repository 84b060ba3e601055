# docker build --tag archiver .
# How to run it: deploy/compose.yaml, deploy/kubernetes, docs/operations.md.
# What is left out of the image by default is the extra `export` (Arrow is larger than all the rest):
#   docker build --build-arg EXTRAS=all --tag archiver .

FROM python:3.13-slim AS build
ARG EXTRAS=alerts,embedded,web
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY archiver archiver
COPY migrations migrations
# Nothing is written to the image when it runs, so the bytecode is made here; pip stays behind.
RUN python -m venv --without-pip /opt/archiver \
    && python -m pip --python /opt/archiver/bin/python install --no-cache-dir --compile --constraint constraints.txt ".[${EXTRAS}]"

FROM python:3.13-slim
# A fixed number, so that volumes and policies can name it.
RUN groupadd --gid 10001 archiver \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/archiver --no-create-home --shell /usr/sbin/nologin archiver \
    && install -d -o 10001 -g 10001 -m 0755 /var/lib/archiver \
    && install -d /etc/archiver
COPY --from=build /opt/archiver /opt/archiver
ENV PATH=/opt/archiver/bin:$PATH \
    ARCHIVER_CONFIG=/etc/archiver/config.yaml \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/archiver
# For the embedded Postgres and the demo; with a database of your own only `archiver verify` keeps its place here.
VOLUME /var/lib/archiver
EXPOSE 8080
STOPSIGNAL SIGTERM
# The configuration has to have a `web` section on port 8080; 503 says that the daemon does not get on.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=8)"]
# The process itself is number 1 and gets the signal; it ends within ten seconds.
ENTRYPOINT ["archiver"]
CMD ["run"]
