import json
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback import jsontext

FIELDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
).filter(lambda value: "float" not in str(value))


@given(FIELDS)
@settings(deadline=None, max_examples=200)
def test_every_value_comes_back(value):
    again = jsontext.decode(jsontext.encode(value))
    assert again == value
    assert repr(again) == repr(value)  # -0.0 is not 0.0, True is not 1


@given(FIELDS)
@settings(deadline=None, max_examples=100)
def test_the_text_is_strict_ascii_json(value):
    def refuse(word):
        raise AssertionError(word)

    text = jsontext.encode([value, math.inf])
    assert text.isascii()
    assert "\n" not in text
    json.loads(text, parse_constant=refuse)


def test_floats_that_are_not_finite_come_back_and_strings_stay_strings():
    row = {"a": math.nan, "b": [math.inf, -math.inf], "classes": ["nan", "inf"]}
    text = jsontext.encode(row)
    assert (
        text == '{"a":{"float":"nan"},"b":[{"float":"inf"},{"float":"-inf"}],'
        '"classes":["nan","inf"]}'
    )
    again = jsontext.decode(text)
    assert math.isnan(again["a"])
    assert again["b"] == [math.inf, -math.inf]
    assert again["classes"] == ["nan", "inf"]


@given(st.floats(width=32))
def test_a_float32_becomes_the_double_of_equal_value(value):
    again = jsontext.decode(jsontext.encode(np.float32(value)))
    assert repr(again) == repr(float(np.float32(value)))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.uint8, np.bool_])
def test_arrays_and_scalars_become_lists_and_numbers(dtype):
    array = np.array([[0, 1], [1, 0]], dtype)
    assert jsontext.decode(jsontext.encode(array)) == array.tolist()
    assert jsontext.decode(jsontext.encode({"n": array[0, 1]})) == {"n": array[0, 1].item()}


def test_bfloat16_becomes_numbers():
    assert jsontext.encode(np.array([1.5, math.inf], ml_dtypes.bfloat16)) == '[1.5,{"float":"inf"}]'


@pytest.mark.parametrize("value", [{1: 2}, {None: 0}, {"a": {1, 2}}, 1j, np.array([1j]), b"x"])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(TypeError):
        jsontext.encode(value)


def test_an_object_that_reads_as_a_float_is_refused():
    with pytest.raises(ValueError, match="another name"):
        jsontext.encode({"layers": {"float": "nan"}})
    assert jsontext.decode(jsontext.encode({"float": "none"})) == {"float": "none"}


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "-Infinity", "{", "", "1 2", "[" * 100_000, b'"\xff"', b"\x00"]
)
def test_anything_but_strict_ascii_json_is_refused(text):
    with pytest.raises(ValueError, match=r"\S"):
        jsontext.decode(text)
