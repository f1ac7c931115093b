"""The application of the tests of the API, for those that attack it."""

from tests.api.conftest import anonymous, bell, client, serve

__all__ = ["anonymous", "bell", "client", "serve"]
