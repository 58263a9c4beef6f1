import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from lmpipe.serving.guards import Guard, content_security_policy


@pytest.fixture
def client():
    def breaks(_):
        raise RuntimeError("secret detail")

    app = Starlette(routes=[Route("/breaks", breaks)])
    app.add_middleware(Guard, key="", hosts=frozenset(), policy="default-src 'none'", count=lambda *_: None)
    with TestClient(app) as client:
        yield client


def test_a_defect_of_ours_is_a_500_in_openais_shape_with_all_headers(client):
    response = client.get("/breaks")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.json()["error"]["type"] == "server_error"
    assert response.headers["content-security-policy"] == "default-src 'none'"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_the_policy_names_each_inline_part_by_its_hash():
    # The hash of an empty text, as https://csp.withgoogle.com and every browser's console print it.
    empty = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    policy = content_security_policy("<style></style><script></script>")
    assert f"script-src {empty};" in policy
    assert f"style-src {empty};" in policy
