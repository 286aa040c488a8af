# One image for all processes: ugc-migrate, ugc-ingest, ugc-gateway, ugc-etl.

# The script of the OpenAPI page: one file of an npm package, checked by the integrity in bundle.json.
FROM node:22.20.0-bookworm-slim AS page
WORKDIR /page
COPY gateway/openapi/static/bundle.json ./
RUN set -eu; \
    field() { node -p "require('./bundle.json').$1"; }; \
    npm pack "$(field name)@$(field version)" --silent > archive; \
    integrity="sha512-$(node -p "require('crypto').createHash('sha512').update(require('fs').readFileSync('$(cat archive)')).digest('base64')")"; \
    if [ "$integrity" != "$(field integrity)" ]; then echo "wrong integrity: $integrity"; exit 1; fi; \
    tar -xzOf "$(cat archive)" "$(field member)" > scalar.js; \
    test -s scalar.js

# Exactly the locked packages, checked by hash; then the project, for which nothing is fetched. The packages of the extra
# `traces` are among them; they are not loaded unless UGC_TRACE_ENDPOINT is set.
FROM python:3.11.14-slim-bookworm AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
RUN python -m venv /opt/venv
COPY locks/traces.txt locks/traces.txt
RUN /opt/venv/bin/pip install --no-deps --require-hashes -r locks/traces.txt
COPY pyproject.toml README.md ./
COPY common common
COPY services services
COPY etl etl
COPY gateway gateway
COPY db db
COPY proto/gen proto/gen
COPY --from=page /page/scalar.js gateway/openapi/static/scalar.js
# local/ is not in the image, so its commands are removed. The install is editable, because the page and the descriptors are
# read from the folder of the code, /app.
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation -e . && rm /opt/venv/bin/ugc-up /opt/venv/bin/ugc-servers && /opt/venv/bin/python -m compileall -q .

FROM python:3.11.14-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin ugc
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY --from=packages /opt/venv /opt/venv
COPY --from=packages /app /app
USER 10001
CMD ["ugc-ingest"]
