"""What a Celery worker imports, under the path that configurations of before name."""

from leadcast.engine.processes import celery_worker as celery_worker
