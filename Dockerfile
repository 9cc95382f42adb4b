# The linger server, with both stores. docs/DEPLOY.md says how to build and run it.
FROM docker.io/library/rust:1-bookworm AS build
WORKDIR /linger
COPY . .
# The repository is not copied, so the commit in `linger --version` is given.
ARG LINGER_COMMIT
RUN cargo build --profile server --locked --package local --features dynamodb

# glibc and certificates, no shell, and a user without rights.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /linger/target/server/linger /usr/local/bin/linger
ENV LINGER_HOST=0.0.0.0 LINGER_LOG_FORMAT=json
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s CMD ["/usr/local/bin/linger", "health"]
ENTRYPOINT ["/usr/local/bin/linger"]
