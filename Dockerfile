# One image for the server and the worker; compose.yaml starts both beside PostgreSQL.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app

# The sandbox writes prompts on its pictures; without this font a Chinese one is boxes.
RUN apt-get update && apt-get install --yes --no-install-recommends fonts-noto-cjk && rm -rf /var/lib/apt/lists/*

COPY requirements.txt .
RUN pip install --no-cache-dir --require-hashes --requirement requirements.txt

COPY . .
RUN useradd --system --uid 1000 waule && install -d --owner waule media
USER waule
VOLUME /app/media
EXPOSE 3000

HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/healthz', timeout=4)"
CMD ["python", "manage.py", "serve", "--host", "0.0.0.0"]
