# The service's image: CPU by default; for GPUs build with --build-arg RUNTIME=gpu. Neither PyTorch
# nor the exporter with its weights is in it.
FROM docker.io/library/python:3.11-slim AS wheels
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir -c constraints.txt build hatchling \
 && for each in . service; do python -P -m build --no-isolation --outdir /wheels $each || exit; done

FROM docker.io/library/python:3.11-slim
ARG RUNTIME=cpu
COPY constraints.txt /wheels/
COPY --from=wheels /wheels/*.whl /wheels/
# The constraints pin the CPU runtime, the GPU one has its own version.
RUN server=$(ls /wheels/sightline_server-*.whl) \
 && pip install --no-cache-dir -c /wheels/constraints.txt /wheels/sightline-*.whl "$server[${RUNTIME}]" \
 && useradd --uid 10001 --no-create-home sightline
USER 10001
ENV SIGHTLINE_SERVER__HOST=0.0.0.0 \
    SIGHTLINE_REPOSITORY__PATH=/models \
    SIGHTLINE_LOG__FORMAT=json
EXPOSE 8001 8002
VOLUME /models
ENTRYPOINT ["sightline", "serve"]
