"""Runs in b24pysdk's own environment (own_environment.py): makes the calls that stdin asks for, says what came of them.

stdin: {"credentials": {…}, "steps": [{"method": "crm.item.add", "arguments": {…}, "as": "result"}, …]}, JSON
stdout: {"outcomes": [{"result": …} or {"raised": […], "text": …}], "token": {…}}, JSON
"""

import json
import sys
from typing import Any

from b24pysdk import BitrixApp, BitrixToken, BitrixWebhook, Config
from b24pysdk.errors import BitrixSDKException


def token_of(credentials: dict[str, Any]) -> Any:
    if "webhook_token" in credentials:
        return BitrixWebhook(**credentials)
    app = BitrixApp(client_id=credentials.pop("client_id"), client_secret=credentials.pop("client_secret"))
    return BitrixToken(**credentials, bitrix_app=app)


def request_of(client: Any, step: dict[str, Any]) -> Any:
    method = client
    for name in step["method"].split("."):
        method = getattr(method, name)
    return method(**step.get("arguments", {}))


def outcome(client: Any, step: dict[str, Any]) -> dict[str, Any]:
    try:
        match step.get("as", "result"):
            case "list":
                return {"result": request_of(client, step).as_list().result}
            case "list_fast":
                return {"result": list(request_of(client, step).as_list_fast().result)}
            case "batches":
                many = [request_of(client, part) for part in step["parts"]]
                return {"result": client.call_batches(many).result.result}
            case "batch":
                named = {name: request_of(client, part) for name, part in step["parts"].items()}
                answer = client.call_batch(named, halt=step.get("halt", False)).result
                return {"result": answer.result, "errors": answer.result_error}
            case "oauth_code":
                return {"result": client.get_token().get_oauth_token(step["code"]).to_dict()}
            case _:
                return {"result": request_of(client, step).result}
    except BitrixSDKException as error:
        return {"raised": [kind.__name__ for kind in type(error).__mro__], "text": str(error)}


def main() -> None:
    asked = json.load(sys.stdin)
    Config().configure(default_initial_retry_delay=0.01, default_retry_delay_increment=0)
    token = token_of(asked["credentials"])
    client = token.get_client()
    outcomes = [outcome(client, step) for step in asked["steps"]]
    told = {"domain": token.domain, "access_token": token.auth_token, "refresh_token": token.refresh_token}
    json.dump({"outcomes": outcomes, "token": told}, sys.stdout, default=str)


if __name__ == "__main__":
    main()
