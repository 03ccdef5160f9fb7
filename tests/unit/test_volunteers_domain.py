"""The rules about a person, as tables of cases with the edges first."""

import traceback
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.volunteers import domain
from services.volunteers.domain import Sex, VolunteerStatus

TODAY = date(2026, 3, 5)

# The two samples of GB 11643-1999 itself; nobody has these numbers.
WOMAN = "11010519491231002X"
MAN = "440524188001010014"


# --- Texts and names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("１２３ＡＢｃ", "123ABc"),
        ("　张三　", "张三"),
        ("e\u0301", "é"),
        ("\ufa11", "\ufa11"),  # 﨑 must not become 崎
        ("\U0002f80a", "\U0002f80a"),
        ("（）", "（）"),
    ],
)
def test_only_what_is_safe_is_normalised(text, expected):
    assert domain.normalise(text) == expected


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("李明", "李明"),
        ("  李明\u3000", "李明"),
        ("𠮷田", "𠮷田"),
        ("王\U00031350", "王\U00031350"),  # newer than the tables of Python 3.11
        ("徐二〇", "徐二〇"),
        ("\ufa11山", "\ufa11山"),
        ("古丽·买买提", "古丽·买买提"),
        ("古丽•买买提", "古丽·买买提"),
        ("古丽・买买提", "古丽·买买提"),
        ("Anna-Maria O'Neill", "Anna-Maria O'Neill"),
        ("José", "José"),
        ("Jose\u0301", "José"),
        ("J. Smith Jr.", "J. Smith Jr."),
        ("Ａnna", "Anna"),
        ("张" * 50, "张" * 50),
        ("薛 霁 野", "薛霁野"),
        ("薛\u3000霁\u3000\u3000野", "薛霁野"),
        ("张\u00a0三", "张三"),
        ("𠮷 田", "𠮷田"),
        ("古 丽·买买提", "古丽·买买提"),
        ("Anna 李 明", "Anna 李 明"),
    ],
)
def test_names_of_many_kinds_are_taken(text, stored):
    assert domain.check_name(text) == stored


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "too_short"),
        ("张", "too_short"),
        (" 张 ", "too_short"),
        ("A.", "too_short"),
        ("张" * 51, "too_long"),
        ("张" * 200, "too_long"),
        ("张三😀", "emoji"),
        ("张三❤", "emoji"),
        ("张三$", "emoji"),
        ("张\u200b三", "hidden"),
        ("张\u200d三", "hidden"),
        ("\ufeff张三", "hidden"),
        ("张\u202e三", "hidden"),
        ("张\x00三", "hidden"),
        ("张\t三", "hidden"),
        ("张\n三", "hidden"),
        ("张\ufe0f三", "hidden"),
        ("张\u3164三", "hidden"),
        ("张\ue000三", "hidden"),
        ("张\ud800三", "hidden"),
        ("张\U0002fffe三", "hidden"),
        ("张3", "digit"),
        ("张３", "digit"),
        ("<b>张三</b>", "emoji"),
        ("张_三", "punctuation"),
        ("张/三", "punctuation"),
        ("·张三", "punctuation"),
        ("张三·", "punctuation"),
        ("张··三", "punctuation"),
        ("Anna  Li", "punctuation"),
        ("张 ·三", "punctuation"),
        ("\u0301张三", "punctuation"),
    ],
)
def test_other_names_are_refused_with_their_reason(text, reason):
    with pytest.raises(domain.InvalidName) as caught:
        domain.check_name(text)
    error = caught.value
    assert (error.code, error.status, error.pointer) == ("name.invalid", 422, "/name")
    assert error.extra == {"reason": reason}
    if text.strip():
        assert text not in error.zh + error.en + str(error)


@pytest.mark.parametrize(
    ("name", "masked"),
    [("张三", "张*"), ("张小三", "张**"), ("古丽·买买提", "古***"), ("张", "张"), ("", "")],
)
def test_a_masked_name_shows_its_first_character(name, masked):
    assert domain.mask_name(name) == masked


# --- Identity numbers


@pytest.mark.parametrize(
    ("text", "number", "born_on", "sex"),
    [
        (WOMAN, WOMAN, date(1949, 12, 31), Sex.FEMALE),
        ("11010519491231002x", WOMAN, date(1949, 12, 31), Sex.FEMALE),
        (" 110105 19491231 002X ", WOMAN, date(1949, 12, 31), Sex.FEMALE),
        (MAN, MAN, date(1880, 1, 1), Sex.MALE),
        ("１１０１０５１９４９１２３１００２Ｘ", WOMAN, date(1949, 12, 31), Sex.FEMALE),
    ],
)
def test_a_sound_identity_number_says_birth_and_sex(text, number, born_on, sex):
    checked = domain.check_id_number(text, today=TODAY)
    assert (checked.number, checked.born_on, checked.sex) == (number, born_on, sex)
    assert checked.area_code == number[:6]
    assert number not in repr(checked)


def with_check(seventeen):
    """Return a number with the check character that the error names for it."""
    for last in "0123456789X":
        try:
            return domain.check_id_number(seventeen + last, today=TODAY).number
        except domain.WrongCheckDigit:
            continue
    raise AssertionError(seventeen)


@pytest.mark.parametrize(
    ("seventeen", "born_on", "sex"),
    [
        ("44078118500101001", date(1850, 1, 1), Sex.MALE),
        ("44078120260305002", TODAY, Sex.FEMALE),
        ("81000019900101003", date(1990, 1, 1), Sex.MALE),  # residence permit of Hong Kong
        ("99999920000229004", date(2000, 2, 29), Sex.FEMALE),  # an area that does not exist any more
    ],
)
def test_edges_of_birth_and_old_areas_are_taken(seventeen, born_on, sex):
    checked = domain.check_id_number(with_check(seventeen), today=TODAY)
    assert (checked.born_on, checked.sex) == (born_on, sex)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "length"),
        ("1101051949123100", "length"),
        (WOMAN + "1", "length"),
        ("1.10105194912310E+17", "lost_digits"),
        ("1.10101E+17", "lost_digits"),
        ("110105194912310000.0", "lost_digits"),
        ("1101051949123100AX", "characters"),
        ("X1010519491231002X", "characters"),
        ("01010519491231002X", "characters"),
        ("110105194912310٠2X", "characters"),
        ("11010519490230002X", "birth_date"),
        ("11010519491331002X", "birth_date"),
        ("11010520260306002X", "birth_date"),
        ("11010518491231002X", "birth_date"),
        ("110105\u200b19491231002X", "hidden"),
        ("110105\x0019491231002X", "hidden"),
    ],
)
def test_what_is_no_identity_number_is_refused_with_the_reason(text, reason):
    with pytest.raises(domain.InvalidIdNumber) as caught:
        domain.check_id_number(text, today=TODAY)
    error = caught.value
    assert (error.code, error.status, error.pointer) == ("id_number.invalid", 422, "/id_number")
    assert error.extra == {"reason": reason}


def test_a_number_of_fifteen_digits_is_refused_with_the_law():
    with pytest.raises(domain.FifteenDigitId) as caught:
        domain.check_id_number("110105491231002", today=TODAY)
    assert caught.value.code == "id_number.fifteen_digits"
    assert "居民身份证法" in str(caught.value.clause)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(WOMAN[:-1] + "1", "X"), ("110105194912310021", "X"), ("440781200001010019", None)],
)
def test_a_wrong_check_digit_is_told_to_the_owner_of_the_input(text, expected):
    with pytest.raises(domain.WrongCheckDigit) as caught:
        domain.check_id_number(text, today=TODAY)
    error = caught.value
    assert error.code == "id_number.check_digit"
    if expected:
        assert f"最后一位应为 {expected}" in error.zh
        assert f"should be {expected}" in error.en


@pytest.mark.parametrize("text", [WOMAN[:-1] + "1", "110105491231002", "11010519490230002X", "1101051949123100AX"])
def test_no_error_about_an_identity_number_holds_the_number(text):
    with pytest.raises(domain.InvalidIdNumber.__mro__[1]) as caught:
        domain.check_id_number(text, today=TODAY)
    error = caught.value
    held = [str(error), repr(error), repr(error.args), repr(vars(error)), error.zh, error.en]
    held += traceback.format_exception_only(error)
    assert error.__cause__ is None
    for shown in held:
        assert text not in shown
        assert text[6:14] not in shown


@given(st.integers(0, 999), st.dates(date(1850, 1, 1), TODAY), st.integers(100000, 999999))
def test_the_check_character_is_that_of_the_standard(order, born_on, area):
    seventeen = f"{area}{born_on:%Y%m%d}{order:03}"
    # GB 11643-1999, by its definition: the weight of a place is 2 to its power, modulo 11.
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(seventeen))
    assert with_check(seventeen)[-1] == "10X98765432"[total % 11]


@given(st.integers(0, 999), st.dates(date(1850, 1, 1), TODAY), st.integers(100000, 999999))
def test_exactly_one_check_character_fits_and_the_error_names_it(order, born_on, area):
    seventeen = f"{area}{born_on:%Y%m%d}{order:03}"
    fitting, named = [], set()
    for last in "0123456789X":
        try:
            fitting.append(domain.check_id_number(seventeen + last, today=TODAY).number[-1])
        except domain.WrongCheckDigit as error:
            named.add(error.zh.partition("最后一位应为 ")[2][0])
    assert len(fitting) == 1
    assert named == set(fitting)


@pytest.mark.parametrize("born_on", [date(1850, 1, 1), TODAY])
def test_a_date_of_birth_from_1850_to_today_is_taken(born_on):
    assert domain.check_birth_date(born_on, today=TODAY) == born_on


@pytest.mark.parametrize("born_on", [date(1849, 12, 31), date(2026, 3, 6)])
def test_another_date_of_birth_is_refused(born_on):
    with pytest.raises(domain.InvalidBirthDate) as caught:
        domain.check_birth_date(born_on, today=TODAY)
    assert caught.value.code == "birth_date.invalid"


def test_birth_and_sex_must_agree_with_the_number():
    checked = domain.check_id_number(WOMAN, today=TODAY)
    assert domain.check_agrees(checked) is None
    assert domain.check_agrees(checked, born_on=date(1949, 12, 31), sex="2") is None
    with pytest.raises(domain.BirthDateMismatch) as caught:
        domain.check_agrees(checked, born_on=date(1949, 12, 30), sex="2")
    assert (caught.value.code, caught.value.pointer) == ("birth_date.mismatch", "/born_on")
    assert "1949" not in repr(vars(caught.value))
    with pytest.raises(domain.SexMismatch) as other:
        domain.check_agrees(checked, born_on=date(1949, 12, 31), sex="1")
    assert (other.value.code, other.value.pointer) == ("sex.mismatch", "/sex")


@pytest.mark.parametrize(
    ("number", "masked"),
    [(WOMAN, "11**************2X"), ("12345678", "12****78"), ("1234567", "*******"), ("", "")],
)
def test_a_masked_identity_number_hides_birth_and_place(number, masked):
    assert domain.mask_id_number(number) == masked


# --- Telephones (numbers of a block that is not given out)


@pytest.mark.parametrize(
    "text",
    [
        "13000000000",
        "１３０００００００００",
        "+86 130 0000 0000",
        "＋86-130-0000-0000",
        "0086 13000000000",
        "8613000000000",
        "(+86) 130 0000 0000",
        " 130-0000-0000 ",
        "130\u00a00000\u00a00000",
        "130－0000－0000",
        "０１３０ ００００ ００００",
        "＋８６１３０００００００００",
    ],
)
def test_a_mainland_mobile_number_is_taken_in_many_spellings(text):
    assert domain.check_phone(text) == "13000000000"


def test_every_block_of_the_numbering_plan_is_taken_however_new_it_is():
    for block in range(130, 200):
        for before in ("", "0", "86", "+86", "0086"):
            assert domain.check_phone(f"{before}{block}00000000") == f"{block}00000000"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("12000000000", "prefix"),
        ("10000000000", "prefix"),
        ("23000000000", "prefix"),
        ("1300000000", "length"),
        ("130000000000", "length"),
        ("", "length"),
        ("1300000000a", "letters"),
        ("电话13000000000", "letters"),
        ("130.0000.0000", "letters"),
        ("13000000000转8", "letters"),
        ("13000000000#8", "letters"),
        ("１３０００００００٠０", "letters"),
        ("+852 6000 0000", "foreign"),
        ("+1 202 555 0100", "foreign"),
        ("00852 6000 0000", "foreign"),
        ("+853 6600 0000", "foreign"),
        ("+999 1300 0000", "foreign"),
        ("+86 10 1234 5678", "landline"),
        ("0750-0000000", "landline"),
        ("020 1234 5678", "landline"),
        ("10 1234 5678", "landline"),
        ("400 000 0000", "length"),
        ("110", "length"),
        ("12345 13000000000", "length"),  # two numbers: the library takes the first for a carrier's prefix
        ("17951 13000000000", "length"),
        ("13000000000 13000000001", "length"),
        ("86 86 13000000000", "length"),
        ("1" * 200, "length"),
        ("\u202d13000000000\u202c", "hidden"),
        ("130\u200b00000000", "hidden"),
        ("130\x0000000000", "hidden"),
        ("1300000+000", "length"),
    ],
)
def test_another_telephone_is_refused_with_the_reason(text, reason):
    with pytest.raises(domain.InvalidPhone) as caught:
        domain.check_phone(text)
    error = caught.value
    assert (error.code, error.status, error.pointer) == ("phone.invalid", 422, "/phone")
    assert error.extra == {"reason": reason}
    if text:
        assert text not in repr(vars(error)) + str(error)


@pytest.mark.parametrize(("phone", "masked"), [("13000000000", "130****0000"), ("1300000", "*******"), ("", "")])
def test_a_masked_telephone_hides_its_middle(phone, masked):
    assert domain.mask_phone(phone) == masked


# --- Age and consent


@pytest.mark.parametrize(
    ("born_on", "on", "age"),
    [
        (date(2012, 3, 5), date(2026, 3, 4), 13),
        (date(2012, 3, 5), date(2026, 3, 5), 14),
        (date(2012, 3, 5), date(2012, 3, 5), 0),
        (date(2012, 2, 29), date(2026, 2, 28), 13),
        (date(2012, 2, 29), date(2026, 3, 1), 14),
        (date(2012, 2, 29), date(2028, 2, 29), 16),
        (date(2011, 12, 31), date(2026, 1, 1), 14),
    ],
)
def test_age_goes_up_on_the_birthday(born_on, on, age):
    assert domain.age_on(born_on, on) == age


def test_there_is_no_age_before_birth():
    with pytest.raises(ValueError, match="before birth"):
        domain.age_on(date(2026, 3, 5), date(2026, 3, 4))


@pytest.mark.parametrize(
    ("born_on", "consented"),
    [
        (date(2012, 3, 5), False),
        (date(2012, 3, 6), True),
        (date(1990, 1, 1), False),
        (date(1990, 1, 1), True),
    ],
)
def test_from_fourteen_on_or_with_a_guardian_no_consent_is_missing(born_on, consented):
    assert domain.check_consent(born_on, guardian_consented=consented, today=TODAY) is None


def test_one_day_under_fourteen_without_a_guardian_is_refused_with_the_law():
    with pytest.raises(domain.ConsentRequired) as caught:
        domain.check_consent(date(2012, 3, 6), guardian_consented=False, today=TODAY)
    error = caught.value
    assert (error.code, error.status) == ("consent.required", 409)
    assert error.clause == "《中华人民共和国个人信息保护法》第三十一条"
    assert "监护人" in error.zh


# --- Standing


def test_a_verified_volunteer_can_serve():
    assert domain.check_verified(VolunteerStatus.VERIFIED) is None


@pytest.mark.parametrize("status", [VolunteerStatus.PENDING, VolunteerStatus.SUSPENDED, VolunteerStatus.LEFT])
def test_another_volunteer_cannot_and_is_told_the_way(status):
    with pytest.raises(domain.VolunteerNotVerified) as caught:
        domain.check_verified(status)
    error = caught.value
    assert (error.code, error.status, error.extra) == (
        "volunteer.not_verified",
        409,
        {"status": status.value},
    )
    assert "请先" in error.zh


@pytest.mark.parametrize(
    ("error", "status", "code", "other"),
    [
        (domain.VolunteerExists("0198-1"), 409, "volunteer.exists", "0198-1"),
        (domain.VolunteerNotFound("0198-1"), 404, "volunteer.not_found", None),
        (domain.VolunteerUnknown(pointer="/items/3/volunteer_id"), 422, "volunteer.unknown", None),
    ],
)
def test_errors_about_volunteers_have_their_status_and_say_what_to_do(error, status, code, other):
    assert (error.status, error.code, error.extra.get("other")) == (status, code, other)
    assert "请" in error.zh
    assert error.en.endswith(".")
