# The service's image: CPU by default; for GPUs build with --build-arg RUNTIME=gpu. PyTorch is not in it.
FROM docker.io/library/python:3.11-slim
ARG RUNTIME=cpu
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY sightline sightline
COPY service service
COPY export export
# The constraints pin the CPU runtime, the GPU one has its own version.
RUN pip install --no-cache-dir -c constraints.txt ".[${RUNTIME}]" \
 && useradd --uid 10001 --no-create-home sightline
USER 10001
ENV SIGHTLINE_SERVER__HOST=0.0.0.0 \
    SIGHTLINE_REPOSITORY__PATH=/models \
    SIGHTLINE_LOG__FORMAT=json
EXPOSE 8001 8002
VOLUME /models
ENTRYPOINT ["sightline", "serve"]
