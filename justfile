# Needs https://just.systems; each line works without it.

# format, lint, unit tests: after each change
quick:
    .ci/quick

# whole nodes on real sockets: `just wire floods::` runs one module
wire *filter:
    cargo wire {{filter}}

# everything a change must pass, or some stages of it: `just gate format lint`
gate *stages:
    .ci/run {{stages}}
