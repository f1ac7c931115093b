"""Phone numbers and e-mail addresses are read in all the forms in which people type them."""

from __future__ import annotations

import pytest
from phonenumbers import PhoneNumber, parse

from leadcast.integrations.text.ways import addresses_in, each_phone, is_same_phone, phones_in


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


ONE, OTHER, CITY = "79995550011", "79995550012", "74951234567"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("8 999 555 00 11 8 999 555 00 12", [ONE, OTHER]),
        ("+7 999 555 00 11 8 999 555 00 12", [ONE, OTHER]),
        ("7 999 555 00 11 7 999 555 00 12", [ONE, OTHER]),
        ("8(999)555-00-11 8(999)555-00-12", [ONE, OTHER]),
        ("+7 (999) 555-00-11 8 (495) 123-45-67", [ONE, CITY]),
        ("+7 999 555 00 11 89995550012", [ONE, OTHER]),
        ("9995550011 9995550012", [ONE, OTHER]),
        ("9995550011 8 9995550012", [ONE, OTHER]),
        ("8(495)123-45-67-89995550011", [CITY, ONE]),
        ("89995550011/89995550012", [ONE, OTHER]),
        ("89995550011\\89995550012", [ONE, OTHER]),
        ("89995550011;89995550012", [ONE, OTHER]),
        ("89995550011\n89995550012", [ONE, OTHER]),
        ("89995550011 или 89995550012", [ONE, OTHER]),
        ("+7+79995550011", [ONE]),
        ("8 (495) 123-45-67 доб. 12 8 999 555 00 11", [CITY, ONE]),
        ("8 (495) 123-45-67 (доб 7) 8 999 555 00 11", [CITY, ONE]),
        ("8 (495) 123-45-67 ext 5 8 999 555 00 11 #12", [CITY, ONE]),
        ("8 999 000-00-01 0049 30 1234567", ["79990000001", "49301234567"]),
        ("+7 999 555 00 11, +7 (200) 123-45-67", [ONE, "72001234567"]),
        ("+7 200 123 45 67 8 999 555 00 12", ["72001234567", OTHER]),
        ("+49 999 000 00 01", ["499990000001"]),
        ("0049 999 000 00 01", ["499990000001"]),
        ("8 200 123 45 67 8 200 123 45 68", ["72001234567", "72001234568"]),
        ("380501234567 380501234568", ["380501234567", "380501234568"]),
        ("8 999 555 00 11 " * 60, [ONE]),
    ],
)
def test_each_of_several_numbers_is_read_whatever_parts_them(text: str, numbers: list[str]) -> None:
    assert phones_in(text, region="RU") == numbers


@pytest.mark.parametrize(
    "text",
    [
        "89995550011 10-18",
        "+7 999 555 00 11 10-18",
        "8 999 555 00 11 10:00-18:00",
        "8 999 555 00 11 (10-18)",
        "8 999 555 00 11 с 10 до 18",
        "89995550011 31.12.2026 18:00",
        "01.12.2026 89995550011",
        "2026-12-01 18:00 89995550011",
        "12/01/2026 89995550011",
        "кв. 12 8 999 555 00 11 эт. 5",
        "12 8 999 555 00 11 5",
        "8 8 999 555 00 11",
        "235-46-78 8 999 555 00 11",
        "ИНН 3525012345, +7 999 555 00 11",
        "89995550011 ИНН 3525012345",
        "заказ № 3525012345 89995550011",
        "паспорт 4510 123456 тел 89995550011",
        "4510123456, 89995550011",
    ],
)
def test_what_stands_beside_a_number_is_no_part_of_it_and_no_other(text: str) -> None:
    assert phones_in(text, region="RU") == [ONE]


def test_what_only_may_be_a_number_is_one_where_there_is_no_other() -> None:
    assert phones_in("заказ 3525012345", region="RU") == ["73525012345"]
    assert phones_in("8 (200) 123-45-67", region="RU") == ["72001234567"]


@pytest.mark.parametrize(
    "text", ["О9995550011", "8(999)555-OO-11", "8 999 555 оо 11", "звоните о доставке: 9995550011"]
)
def test_the_letter_o_is_a_zero_where_it_stands_among_digits(text: str) -> None:
    assert phones_in(text, region="RU") == [ONE]


@pytest.mark.parametrize(
    "text", ["8_999_555_00_11", "8*999*555*00*11", "+7·999·555·00·11", "8 ९९९ 555 00 11", "8\t999\t5550011"]
)
def test_whatever_stands_between_the_digits_of_a_number_does_not_hide_it(text: str) -> None:
    assert phones_in(text, region="RU") == [ONE]


def test_a_plus_before_eight_is_a_slip() -> None:
    assert phones_in("+8 (999) 000-00-01", region="RU") == ["79990000001"]
    assert phones_in("+8 495 123-45-67", region="RU") == [CITY]


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "нет", "112", "02 12 3", "12345", "0000000000", "+7 (999) 999-99-99", "1234567890", "1234567",
        "9" * 300, "00000000000000000", "441234567890",
        "+7 (123) 456-78-90", "8 123 456 78 90", "81234567890", "+998 99 999 99 99", "12345678901",
    ],
)  # fmt: skip
def test_what_is_nobodys_number_is_none(text: str) -> None:
    assert phones_in(text, region="RU") == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+998901234567", "998901234567"),
        ("+998 90 123-45-67", "998901234567"),
        ("+79012345678", "79012345678"),
        ("8 901 234-56-78", "79012345678"),
        ("89991234567", "79991234567"),
        ("+44 1234 567890", "441234567890"),
        ("+1 234 567 8901", "12345678901"),
    ],
)
def test_a_number_that_is_given_out_is_somebodys_whatever_its_digits(text: str, number: str) -> None:
    assert phones_in(text, region="RU") == [number]


def test_digits_that_are_typed_to_get_past_a_form_are_nobodys_where_there_is_such_a_number() -> None:
    assert phones_in("01234567890", region="GB") == []
    assert phones_in("12345678901", region="US") == []


@pytest.mark.parametrize(
    ("region", "text", "numbers"),
    [
        ("UA", "8 067 123 45 67", ["380671234567"]),
        ("UA", "80671234567", ["380671234567"]),
        ("UA", "8 067 123 45 67 8 050 123 45 68", ["380671234567", "380501234568"]),
        ("UA", "067 123 45 67 050 123 45 68", ["380671234567", "380501234568"]),
        ("UA", "0671234567, 79995550011", ["380671234567", ONE]),
        ("KZ", "8 701 123 45 67 8 702 123 45 68", ["77011234567", "77021234568"]),
        ("KZ", "8 (7172) 12-34-56 8 999 555 00 11", ["77172123456", ONE]),
        ("KZ", "ИИН 870112345678 87011234567", ["77011234567"]),
        ("BY", "8 029 123-45-67 8 017 212-34-56", ["375291234567", "375172123456"]),
        ("BY", "+375 29 123 45 67 9-18", ["375291234567"]),
        ("UZ", "90 123 45 67 91 123 45 68", ["998901234567", "998911234568"]),
        ("UZ", "8901234568", ["998901234568"]),
        ("UZ", "66 905 01 23 (12)", ["998669050123"]),
        ("KG", "0555 123 456 0700 123 456", ["996555123456", "996700123456"]),
        ("KG", "80555123456", ["996555123456"]),
        ("AM", "077 123456 091 123456", ["37477123456", "37491123456"]),
        ("GE", "555 12 34 56 577 12 34 57", ["995555123456", "995577123457"]),
        ("DE", "030 1234567 0171 1234567", ["49301234567", "491711234567"]),
        ("DE", "030 1234567 10:00-18:00", ["49301234567"]),
        ("DE", "030 123456 (12)", ["4930123456"]),
        ("DE", "01.12.2026 0171 1234567", ["491711234567"]),
        ("US", "(415) 555-2671 x5 (415) 555-2672 x6", ["14155552671", "14155552672"]),
        ("US", "1-415-555-2671 1-415-555-2672", ["14155552671", "14155552672"]),
        ("US", "(415) 555-2671 9-5", ["14155552671"]),
        ("US", "(415) 555-2671, (416) 555-2672", ["14155552671", "14165552672"]),
    ],
)
def test_numbers_are_read_in_the_habits_of_their_country(region: str, text: str, numbers: list[str]) -> None:
    assert phones_in(text, region=region) == numbers


@pytest.mark.parametrize("region", ["RU", "DE", "US"])
@pytest.mark.parametrize("text", ["1 ", "3 0 ", "00 ", "+1 ", "8 999 555 00 11 ", "О", "1О", "9", "(", "заказ № ", "+"])
def test_reading_takes_no_longer_for_a_longer_text(monkeypatch: pytest.MonkeyPatch, region: str, text: str) -> None:
    parsed: list[str] = []

    def counted(number: str, region: str) -> PhoneNumber:
        parsed.append(number)
        return parse(number, region)

    monkeypatch.setattr("leadcast.integrations.text.phone_division.parse", counted)
    phones_in(text * (1_000_000 // len(text)), region=region)
    assert len(parsed) <= 2 * 3 * 12 * 40  # strict and not, each with its spellings, lengths, groups


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
    assert each_phone("8(999)000-00-01 8(999)000-00-02", region="RU") == ["+79990000001", "+79990000002"]
    assert each_phone("89990000001 10-18", region="RU") == ["89990000001 10-18"]
    assert each_phone("", region="RU") == [""]


@pytest.mark.parametrize("number", ["79990000001", "998901234567", "49301234567", "72001234567", "390612345678"])
@pytest.mark.parametrize("region", ["RU", "UA", "DE", "US"])
def test_what_is_stored_is_read_again(number: str, region: str) -> None:
    assert phones_in(f"+{number}", region=region) == [number]


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("anna@example.com", ["anna@example.com"]),
        ("anna@example.com, boss@example.com", ["anna@example.com", "boss@example.com"]),
        ("anna@example.com;Anna@Example.com", ["anna@example.com"]),
        ("Анна <anna@example.com>", ["anna@example.com"]),
        ("mailto:anna@example.com", ["anna@example.com"]),
        ("anna@почта.рф", ["anna@xn--80a1acny.xn--p1ai"]),
        ("anna@example.com.", ["anna@example.com"]),
        ("anna@example.com,", ["anna@example.com"]),
        ("anna@example.com!", ["anna@example.com"]),
        ("anna@example.com…", ["anna@example.com"]),
        ("«anna@example.com»", ["anna@example.com"]),
        ("“anna@example.com”", ["anna@example.com"]),
        ("'anna@example.com'", ["anna@example.com"]),
        ('"anna@example.com"', ["anna@example.com"]),
        ("<anna@example.com>", ["anna@example.com"]),
        ("[anna@example.com]", ["anna@example.com"]),
        ("**anna@example.com**", ["anna@example.com"]),
        ("e-mail:anna@example.com", ["anna@example.com"]),
        ("anna＠example.com", ["anna@example.com"]),
        ("ａｎｎａ＠ｅｘａｍｐｌｅ．ｃｏｍ", ["anna@example.com"]),
        ("anna@exam\u200bple.com", ["anna@example.com"]),
        ("anna＠почта．рф.", ["anna@xn--80a1acny.xn--p1ai"]),
        ("'anna@example.com','boss@example.com'", ["anna@example.com", "boss@example.com"]),
        ("anna@example.com/boss@example.com", ["anna@example.com", "boss@example.com"]),
        ("anna@example.com|boss@example.com.", ["anna@example.com", "boss@example.com"]),
        ("Анна «anna@example.com», boss@example.com.", ["anna@example.com", "boss@example.com"]),
        ("o'brien@example.com", ["o'brien@example.com"]),
        ("sales/anna@example.com", ["sales/anna@example.com"]),
        ("нет", []),
        ("anna@example", []),
        ("anna@example..com", []),
        ("a@b@example.com", []),
        ("anna@@example.com", []),
        ("", []),
        ("@" * 5000, []),
        ("a@b.ru " * 500, ["a@b.ru"]),
    ],
)
def test_addresses_are_read_out_of_what_people_write(text: str, addresses: list[str]) -> None:
    assert addresses_in(text) == addresses
