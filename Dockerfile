# The wheel, built from the checkout. For a release, `--build-context wheel=dist` replaces this
# stage by the wheel that is released; see docs/releasing.md.
FROM python:3.11-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY service service
RUN pip wheel --no-cache-dir --no-deps --wheel-dir / .

FROM python:3.11-slim AS build
COPY --from=wheel /*.whl /wheels/
COPY constraints.txt /
RUN python -m venv /opt/luma-tracker \
 && /opt/luma-tracker/bin/pip install --no-cache-dir --constraint /constraints.txt /wheels/*.whl

FROM python:3.11-slim
RUN groupadd --gid 10001 tracker \
 && useradd --uid 10001 --gid tracker --no-create-home --home-dir /var/lib/luma-tracker \
        --shell /usr/sbin/nologin tracker \
 && install -d -m 0700 -o tracker -g tracker /var/lib/luma-tracker
COPY --from=build /opt/luma-tracker /opt/luma-tracker
# Without TRACKER_DATABASE_URL the database is /var/lib/luma-tracker/tracker.db.
ENV PATH=/opt/luma-tracker/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TRACKER_HOST=0.0.0.0 \
    XDG_DATA_HOME=/var/lib
USER 10001:10001
WORKDIR /var/lib/luma-tracker
VOLUME /var/lib/luma-tracker
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --start-interval=1s \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('TRACKER_PORT') or 8000), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["luma-tracker"]
CMD ["serve"]
