# One image for servers, workers and the migration job. compose.yaml and deploy/kubernetes start it in each of these roles.
ARG PYTHON=python:3.12.11-slim-bookworm

FROM ${PYTHON} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# With traces: --build-arg REQUIREMENTS=requirements-tracing.txt
ARG REQUIREMENTS=requirements.txt
COPY ${REQUIREMENTS} requirements.txt
RUN python -m venv --without-pip /opt/venv \
  && python -m pip --python /opt/venv/bin/python install --require-hashes --requirement requirements.txt

FROM ${PYTHON}
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 MEDIA_ROOT=/var/lib/waule/media
WORKDIR /app

# The sandbox writes prompts on its pictures; without this font a Chinese one is boxes.
RUN apt-get update && apt-get install --yes --no-install-recommends fonts-wqy-microhei && rm -rf /var/lib/apt/lists/* \
  && useradd --system --uid 1000 --no-create-home waule && install -d --owner waule --mode 700 /var/lib/waule/media

COPY --from=packages /opt/venv /opt/venv
# Named one by one: tests, benchmarks and documents stay outside.
COPY manage.py ./
COPY aiservices aiservices
COPY billing billing
COPY gateway_client gateway_client
COPY locale locale
COPY storage storage
COPY templates templates
COPY tenants tenants
COPY waule waule

# Compiled once, and static files compressed and named by their hash, so that browsers keep them for good.
RUN python -m compileall -q /app && DEBUG=true ENCRYPTION_KEYS=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= \
  python manage.py collectstatic --no-input --verbosity 0

USER waule
VOLUME /var/lib/waule/media
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/healthz', timeout=4)"]
CMD ["python", "manage.py", "serve", "--host", "0.0.0.0"]
