"""The finished run of the tests of whole lives serves here, too."""

from tests.e2e.conftest import finished

__all__ = ["finished"]
