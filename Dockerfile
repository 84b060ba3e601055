# docker build -t archiver . && docker run -v ./config.yaml:/config.yaml:ro -e INTEGRATOR_USERNAME -e INTEGRATOR_PASSWORD archiver
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE alembic.ini config.example.yaml constraints.txt ./
COPY archiver archiver
COPY migrations migrations
RUN python -m venv /opt/archiver && /opt/archiver/bin/pip install --no-cache-dir --constraint constraints.txt '.[all]'

FROM python:3.13-slim
RUN useradd --uid 10001 --create-home archiver && install -d -o archiver /var/lib/archiver
COPY --from=build /opt/archiver /opt/archiver
ENV PATH=/opt/archiver/bin:$PATH ARCHIVER_CONFIG=/config.yaml PYTHONUNBUFFERED=1
USER archiver
WORKDIR /var/lib/archiver
VOLUME /var/lib/archiver
ENTRYPOINT ["archiver"]
CMD ["run"]
