# Airflow 3.3.2 with Leadcast in it. docker-compose.yaml runs every service from this one image, but for the sandbox, which
# is the target `sandbox`: what runs in production has no demo in it.
#
# The slim image of the two official ones: it holds Airflow's core and nothing else, so that requirements.txt, which
# the tests ran with, is the whole truth. The full image brings some sixty providers with pins of their own, and ours
# would break them half-way.
ARG AIRFLOW_IMAGE=apache/airflow:slim-3.3.2-python3.11

FROM ${AIRFLOW_IMAGE} AS build
COPY --chown=airflow:0 pyproject.toml requirements-build.txt README.md LICENSE /tmp/leadcast/
COPY --chown=airflow:0 leadcast-local /tmp/leadcast/leadcast-local
COPY --chown=airflow:0 include /tmp/leadcast/include
COPY --chown=airflow:0 dags /tmp/leadcast/dags
# A wheel, not a copied folder: its entry points are how Airflow finds the connection types and the integrations.
RUN pip install --no-cache-dir --require-hashes --requirement /tmp/leadcast/requirements-build.txt \
    && pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp/dist /tmp/leadcast \
    && pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp/local /tmp/leadcast/leadcast-local \
    && rm -r /tmp/leadcast/include/leadcast

FROM ${AIRFLOW_IMAGE} AS leadcast
# The image's own account, uid 50000; nothing below needs root.
USER airflow
COPY --chown=airflow:0 requirements.txt /tmp/requirements.txt
# Every file by its hash: nothing but what the tests ran with.
RUN pip install --no-cache-dir --require-hashes --requirement /tmp/requirements.txt
# Further distributions: another auth manager, a notifier, an integration of your own. They move none of our pins.
ARG EXTRA_REQUIREMENTS=""
RUN if [ -n "${EXTRA_REQUIREMENTS}" ]; then \
    sed -e '/^ *--hash/d' -e 's/ *\\$//' /tmp/requirements.txt > /tmp/constraints.txt \
    && pip install --no-cache-dir --constraint /tmp/constraints.txt ${EXTRA_REQUIREMENTS}; fi
COPY --from=build --chown=airflow:0 /tmp/dist /tmp/dist
RUN pip install --no-cache-dir --no-deps /tmp/dist/*.whl
COPY --chown=airflow:0 dags /opt/airflow/dags
COPY --chown=airflow:0 plugins /opt/airflow/plugins
# What is yours beside the package, if there is any: include/hooks.py, include/templates/.
COPY --from=build --chown=airflow:0 /tmp/leadcast/include /opt/airflow/include

FROM leadcast AS sandbox
COPY --chown=airflow:0 requirements-local.txt /tmp/requirements-local.txt
RUN pip install --no-cache-dir --require-hashes --requirement /tmp/requirements.txt --requirement /tmp/requirements-local.txt
COPY --from=build --chown=airflow:0 /tmp/local /tmp/local
RUN pip install --no-cache-dir --no-deps /tmp/local/*.whl

# What is built when no target is named.
FROM leadcast
