"""`python -m app.api.openapi` prints the OpenAPI document, as docs/openapi.json keeps it."""

import json
import sys

from app.api.application import make_application


def document() -> str:
    return json.dumps(make_application().openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
