# One image for every role; the command chooses (`tollkeeper serve authz`, `tollkeeper migrate`, ...).
FROM python:3.11-slim AS build
WORKDIR /app
RUN python -m venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/runtime.in requirements/runtime.lock requirements/
RUN pip install --require-hashes -r requirements/runtime.lock
COPY pyproject.toml ./
COPY src src
RUN pip install --no-deps --no-build-isolation --editable .

FROM python:3.11-slim
RUN groupadd --gid 10001 tollkeeper && useradd --uid 10001 --gid 10001 \
    --create-home --home-dir /var/lib/tollkeeper tollkeeper
WORKDIR /app
COPY --from=build /app /app
COPY migrations migrations
COPY tollkeeper.yaml ./
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TOLLKEEPER_CONFIG_FILE=/app/tollkeeper.yaml \
    TOLLKEEPER_HOME=/var/lib/tollkeeper
USER tollkeeper
VOLUME /var/lib/tollkeeper
ENTRYPOINT ["tollkeeper"]
CMD ["serve", "all"]
