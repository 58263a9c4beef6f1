"""National numbers, network names, dates, wallets: what is found, what is left alone, and that every check digit counts."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.data.pii import checksums
from lmpipe.data.pii.config import DEFAULT_ENTITIES
from lmpipe.data.pii.digits import has_run, windows
from lmpipe.data.pii.find import ANYWHERE, FINDERS, IN_RUNS, find
from lmpipe.data.pii.national_ids import NATIONAL_IDS

ALL = tuple(FINDERS)

FOUND = {
    "us_ssn": ["536-90-7890", "SSN: 536 90 7890", "social security number is 536907890"],
    "gb_nhs": ["NHS number 943 476 5919", "nhs: 9434765919"],
    "gb_nino": ["AB 12 34 56 C", "AB123456C", "National Insurance: AB 123456C"],
    "de_tax_id": ["Steuer-ID 86 095 742 719", "IdNr. 86095742719"],
    "fr_nir": ["2 55 08 14 168 025 38", "255081416802538", "1 85 05 2A 006 084 35"],
    "es_dni": ["12345678Z", "12345678-Z", "DNI 12345678 z"],
    "es_nie": ["X1234567L", "X-1234567-L"],
    "it_fiscal_code": ["RSSMRA85T10A562S"],
    "nl_bsn": ["BSN 111222333", "burgerservicenummer: 1112.22.333"],
    "br_cpf": ["529.982.247-25", "CPF 52998224725"],
    "pl_pesel": ["PESEL 44051401359"],
    "se_personnummer": ["811218-9876", "19811218-9876", "personnummer 8112189876"],
    "in_aadhaar": ["2341 2341 2346", "Aadhaar: 234123412346"],
    "driver_licence": ["my driver's license number is F162823540116", "Driving licence no. MORGA657054SM9IJ"],
    "mac": ["3c:22:fb:9a:01:7e", "3C-22-FB-9A-01-7E", "eth0 3c22.fb9a.017e up"],
    "url_credentials": ["postgres://ada:s3cr3t-9@db.example.org/main"],
    "url": ["see https://www.example.org/~ada?q=1.", "(http://example.org)"],
    "crypto_wallet": [
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
        "0xde0B295669a9FD93d5F28D9Ec85E40f4cb697BAe",
    ],
    "date_of_birth": [
        "born on 7/14/1995",
        "DOB: 1995-07-14",
        "Date of birth:\n7/14/1995",
        "geboren am 14. Juli 1995",
        "née le 14 juillet 1995",
    ],
    "date": ["2018-01-14 03:07:43", "14.7.1995", "July 14, 1995", "14th of July 1995", "14 de julio de 1995"],
}
LEFT_ALONE = {
    "us_ssn": ["666-12-3456", "000-12-3456", "078-05-1120", "536 90 7890", "1536-90-7890", "part 536-90-78901"],
    "gb_nhs": ["943 476 5919", "NHS number 943 476 5918", "NHS 1111111111"],
    "gb_nino": ["GB123456C", "DA 12 34 56 C", "XAB123456C", "AB123456CX"],
    "de_tax_id": ["86095742719", "Steuer-ID 86 095 742 718"],
    "fr_nir": ["29358 26500 19169 18467 15724", "2 55 08 14 168 025 39", "1255081416802538"],
    "es_dni": ["12345678A", "112345678Z", "12345678Zx"],
    "es_nie": ["X1234567A", "AX1234567L"],
    "it_fiscal_code": ["RSSMRA85T10A562T", "XRSSMRA85T10A562S"],
    "nl_bsn": ["111222333", "BSN 111222334"],
    "br_cpf": ["52998224725", "529.982.247-24", "111.111.111-11"],
    "pl_pesel": ["44051401359", "PESEL 44051401358", "PESEL 99999999999"],
    "se_personnummer": ["811218-9875", "811318-9876", "8112189876"],
    "in_aadhaar": ["2836 2836 2836", "2341 2341 2345", "234123412346", "1341 2341 2346"],
    "driver_licence": ["the driver's licence was lost", "a driver's license costs 30", "F162823540116"],
    "mac": ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "12:30:45:10:20:30", "1:22:fb:9a:01:7e", "3c:22:fb:9a:01:7e:55:66"],
    "url_credentials": ["https://example.org:8080/a@b", "http://user:password@host", "mailto:a:b@example.org", "x://a@b"],
    "url": ["example.org", "and://", "std::vector", "C:\\x"],
    "crypto_wallet": ["1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", "0x" + "0" * 40],
    "date_of_birth": [
        "on 7/14/1995 it rained",
        "born in 1995",
        "twins born apart.\n7/14/1995",
        "He was born poor. On 7/14/1995 he moved",
    ],
    "date": ["in 1995", "Thursday", "13/13/1995", "31.2.1995", "1995-02-30", "4.12.1995.1", "version 1-2-2003-4"],
}


def kinds(text):
    return [(text[s.start : s.end], s.kind) for s in find(text, ALL, public_ips_only=False)]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_found(kind, text):
    found = find(f"x {text} y", (kind,))
    assert [span.kind for span in found] == [kind]
    assert found == find(f"x {text} y", (kind,)), "twice the same"


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in LEFT_ALONE.items() for text in texts])
def test_left_alone(kind, text):
    assert find(f"x {text} y", (kind,)) == []


@pytest.mark.parametrize("word", ["Tel.:", "Telefon", "tél. ", "Teléfono:", "Celular", "Телефон:", "電話："])
def test_a_telling_word_of_another_language_makes_a_phone_number(word):
    assert [span.kind for span in find(f"{word} 123 4567", ("phone",))] == ["phone"]
    assert find("Pages 123 4567", ("phone",)) == []


@pytest.mark.parametrize("prefix", ["dop_v1_", "shpat_", "dapi", "ya29.", "GOCSPX-", "sq0atp-"])
def test_keys_of_more_issuers(prefix):
    length = {"dop_v1_": 64, "shpat_": 32, "dapi": 32, "GOCSPX-": 28}.get(prefix, 24)
    key = prefix + "".join(random.Random(5).choices("0123456789abcdef", k=length))
    assert find(f"token={key};", ("api_key",)) == [(6, 6 + len(key), "api_key")]
    assert find(prefix + "a" * length, ("api_key",)) == []


def test_every_kind_has_an_example():
    others = {"email", "phone", "credit_card", "iban", "ip", "api_key"}  # test_pii.py
    assert set(FINDERS) == FOUND.keys() | others == LEFT_ALONE.keys() | others
    assert set(DEFAULT_ENTITIES) == set(FINDERS) - {"url", "date"}


@pytest.mark.parametrize("kind", sorted(set(NATIONAL_IDS) - {"us_ssn", "gb_nino"}))
def test_one_wrong_digit_is_noticed(kind):
    """ISO 7064, Luhn, Verhoeff and the modulo-11 checks find every single error; the Spanish letter and the key do, too."""
    text = FOUND[kind][0]
    number = text[find(text, (kind,))[0].start :]
    is_valid = NATIONAL_IDS[kind].is_valid
    bare = re.sub("[^0-9A-Za-z]", "", number)
    assert is_valid(bare)
    for position, digit in enumerate(bare):
        for other in "0123456789" if digit.isdigit() else "":
            changed = bare[:position] + other + bare[position + 1 :]
            assert other == digit or not is_valid(changed), changed


def test_neighbours_swapped_are_noticed_by_verhoeff():
    draw = random.Random(3)
    for _ in range(200):
        digits = str(draw.randrange(2, 10)) + "".join(draw.choices("0123456789", k=10))
        check = next(d for d in "0123456789" if checksums.is_in_aadhaar(digits + d))
        whole = digits + check
        for i in range(1, 11):
            swapped = whole[:i] + whole[i + 1] + whole[i] + whole[i + 2 :]
            assert swapped == whole or not checksums.is_in_aadhaar(swapped)


def test_the_password_goes_and_the_address_stays():
    text = "clone https://ada:s3cr3t-9@example.org/x.git"
    assert kinds(text)[0] == ("ada:s3cr3t-9", "url_credentials")


def test_an_example_number_of_every_manual_is_left_alone():
    assert find("SSN 123456789", ("us_ssn",)) == []


PIECES = st.sampled_from(
    ["536-90-7890", "me@example.org", "DOB: 1995-07-14",
     "BSN 111222333", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "phone 467 3395",
     "3c:22:fb:9a:01:7e", "RSSMRA85T10A562S", "5", "in 1995", " ", "word ", "x" * 70,
     "many words without a number " * 6, "ssn "]
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(st.lists(PIECES, max_size=12))
def test_searching_near_digits_finds_what_searching_everywhere_finds(pieces):
    text = "".join(pieces)
    everywhere = {(start, end, kind) for kind, finder in FINDERS.items() for start, end in finder(text)}
    near = {
        (offset + start, offset + end, kind)
        for offset, window in windows(text)
        for kind in FINDERS.keys() - ANYWHERE
        if has_run(window) or kind not in IN_RUNS
        for start, end in FINDERS[kind](window)
    }
    assert {span for span in everywhere if span[2] not in ANYWHERE} == near


@pytest.mark.parametrize(
    "unit", ["12-", "1/1/1995", "://a:b", "AB1", "3c:22:", "born ", "0x0", "bc1q", "SSN 1", "X1234567", "1.2.", "ABCDEF"]
)
def test_long_hostile_texts_take_linear_time(unit):
    find(unit * 20_000, ALL, public_ips_only=False)
