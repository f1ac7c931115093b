"""Phone numbers and e-mail addresses are read in all the forms in which people type them."""

from __future__ import annotations

import pytest

from leadcast.integrations.ways import addresses_in, each_phone, is_same_phone, phones_in


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("8 (999) 000-00-01", ["79990000001"]),
        ("9990000001", ["79990000001"]),
        ("79990000001", ["79990000001"]),
        ("+7 999 000–00–01 доб. 12", ["79990000001"]),
        ("8 (999) 000-00-01 ext 12", ["79990000001"]),
        ("+79990000001#404", ["79990000001"]),
        ("8-999-000-00-01, 8-999-000-00-02", ["79990000001", "79990000002"]),
        ("8 999 000 00 01 или 8 495 111 22 33", ["79990000001", "74951112233"]),
        ("тел.: 8\u00a0999\u00a0000-00-01, звоните", ["79990000001"]),
        ("８９９９０００００１１", ["79990000011"]),
        ("\u202a+7 999 000-00-01\u202c", ["79990000001"]),
        ("7.9990000001E+10", ["79990000001"]),
        ("tel:+79990000001", ["79990000001"]),
        ("0049 30 1234567", ["49301234567"]),
        ("тел. 0049 30 1234567", ["49301234567"]),
        ("(0049) 30 1234567", ["49301234567"]),
        ("8 999 000-00-01, 0049 30 1234567", ["79990000001", "49301234567"]),
        ("8 999 123 0045", ["79991230045"]),
        ("8\u00a0999\u00a0123\u00a00045", ["79991230045"]),
        ("8(999)123-0045", ["79991230045"]),
        ("+7 999 123 0045", ["79991230045"]),
        ("+7 (495) 0012345", ["74950012345"]),
        ("8 800 005-55-55", ["78000055555"]),
        ("+1 202 555 0012", ["12025550012"]),
        ("8 999 000-00-01, 8 999 000-00-02, 8 999 123 0045", ["79990000001", "79990000002", "79991230045"]),
        ("+380 50 123 45 67", ["380501234567"]),
        ("380501234567", ["380501234567"]),
        ("+39 06 1234 5678", ["390612345678"]),
        ("235-46-78", ["2354678"]),
    ],
)
def test_numbers_are_read_in_full(text: str, numbers: list[str]) -> None:
    assert phones_in(text, region="RU") == numbers


def test_a_plus_before_eight_is_a_slip() -> None:
    assert phones_in("+8 (999) 000-00-01", region="RU") == ["79990000001"]


@pytest.mark.parametrize(
    "text",
    ["", " ", "нет", "112", "02 12 3", "12345", "0000000000", "+7 (999) 999-99-99", "1234567890", "1234567", "9" * 300],
)
def test_what_is_nobodys_number_is_none(text: str) -> None:
    assert phones_in(text, region="RU") == []


def test_a_number_without_its_country_is_of_the_region() -> None:
    assert phones_in("(212) 555-0100", region="US") == ["12125550100"]
    assert phones_in("030 1234567", region="DE") == ["49301234567"]
    assert phones_in("+7 999 000 00 01", region="DE") == ["79990000001"]


def test_a_number_without_its_country_is_compared_by_ten_digits_and_others_whole() -> None:
    assert is_same_phone("9990000001", "79990000001")
    assert is_same_phone("380990000001", "0990000001")
    assert not is_same_phone("49990000001", "79990000001")
    assert not is_same_phone("1234", "1234")


def test_several_numbers_are_stored_each_and_one_as_it_was_typed() -> None:
    assert each_phone("8 999 000-00-01 доб. 12", region="RU") == ["8 999 000-00-01 доб. 12"]
    assert each_phone("89990000001 / 89990000002", region="RU") == ["+79990000001", "+79990000002"]
    assert each_phone("", region="RU") == [""]


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("anna@example.com", ["anna@example.com"]),
        ("anna@example.com, boss@example.com", ["anna@example.com", "boss@example.com"]),
        ("anna@example.com;Anna@Example.com", ["anna@example.com"]),
        ("Анна <anna@example.com>", ["anna@example.com"]),
        ("mailto:anna@example.com", ["anna@example.com"]),
        ("anna@почта.рф", ["anna@xn--80a1acny.xn--p1ai"]),
        ("нет", []),
        ("anna@example", []),
        ("anna@@example.com", []),
        ("", []),
        ("@" * 5000, []),
        ("a@b.ru " * 500, ["a@b.ru"]),
    ],
)
def test_addresses_are_read_out_of_what_people_write(text: str, addresses: list[str]) -> None:
    assert addresses_in(text) == addresses
