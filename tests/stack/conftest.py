"""What the tests of this folder use beside the stack: a MariaDB of a company's own."""

from tests.stack.mariadb import own_mariadb

__all__ = ["own_mariadb"]
