"""What amoCRM says of the account in the words of a 400, and what only looks like it."""

from __future__ import annotations

from typing import Any

import pytest

from leadcast.core.setting_choices import Language
from leadcast.integrations.amocrm.problems import account_problem
from leadcast.integrations.text.wording import Wording

RU = "В случае повторного возникновения ошибки, обращайтесь в нашу техническую поддержку - support@amocrm.ru"
EN = "If error appears again, you can write to our support team - support@amocrm.com"
NUMBERS = ["101", "110", "112", "113", "202", "244", "288", "402", "425", "426", "428"]


def body(detail: Any, **more: Any) -> dict[str, Any]:
    return {"title": "Bad Request", "type": "https://httpstatus.es/400", "status": 400, "detail": detail, **more}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("detail", [f"Код ошибки {{}}. {RU}", f"Error code {{}}. {EN}", f"Código de error: {{}}. {EN}"])
def test_amocrms_own_numbers_are_about_the_account_in_any_language(detail: str, number: str) -> None:
    found = account_problem(body(detail.format(number)))
    assert found is not None
    assert found[0] == number
    sentence = f"amoCRM refuses the account: {found[1]} ({number})."
    assert Wording.of(Language.RU).say(found[1]) != found[1]
    assert Wording.of(Language.RU).say(sentence).startswith("amoCRM отказывает аккаунту: ")


@pytest.mark.parametrize(
    "said",
    [
        body(f"Код ошибки 205. {RU}"),
        body(f"Код ошибки 2440. {RU}"),
        body(f"Код ошибки 1244. {RU}"),
        body("Request data can not be empty"),
        body("Price 244. is no choice"),
        body(f"{'x' * 5000} 244. {RU}"),
        body(
            f"Код ошибки 244. {RU}", **{"validation-errors": [{"errors": [{"code": "InvalidType", "path": "price"}]}]}
        ),
        body(244),
        body(None),
        {},
        [],
        None,
        "Код ошибки 244. support@amocrm.ru",
    ],
)
def test_other_refusals_are_the_leads(said: Any) -> None:
    assert account_problem(said) is None
