"""What attributes of spans are called.

There is no convention for predictions yet; its names will be taken over here, and nowhere else, once there is one.
Nothing that could tell of a person has a name here: no values, no caller's address, no token, no free text.
"""

from __future__ import annotations

METHOD = "http.request.method"
ROUTE = "http.route"
STATUS = "http.response.status_code"
URL_PATH = "url.path"
URL_SCHEME = "url.scheme"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"

RPC_SYSTEM = "rpc.system"
RPC_SERVICE = "rpc.service"
RPC_METHOD = "rpc.method"

MODEL_NAME = "ml.model.name"
MODEL_VERSION = "ml.model.version"
DEPLOYMENT = "ml.deployment.name"
VARIANT = "ml.deployment.variant"
PREDICTION_ID = "ml.prediction.id"
BATCH_REQUESTS = "ml.batch.requests"
BATCH_ROWS = "ml.batch.rows"
LANE = "ml.lane"
