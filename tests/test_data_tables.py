"""Tables: CSV and Parquet, what they mean, and how they are refused."""

import sys
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.data import read_table
from pullback.data.labels import targets_of
from pullback.data.table import read_new
from pullback.errors import DataError

GOOD = "age,town,income,bought\n31,Oslo,1e3,yes\n44,Bergen,2.5,no\n28,Oslo,-7,yes\n"


def csv(folder, text, name="people.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_reads_numbers_categories_and_a_target(tmp_path):
    table = read_table(csv(tmp_path, GOOD), target="bought")
    assert list(table.inputs) == ["age", "town", "income"]
    assert table.inputs["age"].tolist() == [31, 44, 28]
    assert table.inputs["town"].tolist() == ["Oslo", "Bergen", "Oslo"]
    assert table.inputs["income"].tolist() == [1000, 2.5, -7]
    assert table.classes == ("no", "yes")
    assert table.y is not None
    assert table.y.tolist() == [1, 0, 1]
    assert table.rows.tolist() == [2, 3, 4]


def test_roles_of_columns(tmp_path):
    path = csv(tmp_path, GOOD)
    table = read_table(path, target="income", weight="age", categorical=["town"], ignore=["bought"])
    assert list(table.inputs) == ["town"]
    assert table.classes is None
    assert table.y is not None
    assert table.weight is not None
    assert table.y.tolist() == [[1000], [2.5], [-7]]
    assert table.weight.tolist() == [31, 44, 28]
    with pytest.raises(DataError, match=r"weights are numbers, got 'Oslo', in .*column 'town'"):
        read_table(path, target="bought", weight="town")
    with pytest.raises(DataError, match="no column is left"):
        read_table(path, target="age", ignore=["town", "income", "bought"])


def test_listed_columns_are_text_whatever_they_hold(tmp_path):
    path = csv(tmp_path, "code,y\n01,0\n1,1\n")
    assert read_table(path, target="y", categorical=["code"]).inputs["code"].tolist() == ["01", "1"]


def inputs_of(path):
    return read_new(path, categorical=(), unused=())


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.rstrip("\n"),
        GOOD.replace("\n", "\n\n"),
        GOOD.replace(",", " , "),
        GOOD.replace("Oslo", '"Oslo"'),
    ],
)
def test_harmless_differences_of_csv(tmp_path, text):
    table = read_table(csv(tmp_path, text), target="bought")
    assert table.inputs["age"].tolist() == [31, 44, 28]
    assert table.inputs["town"].tolist() == ["Oslo", "Bergen", "Oslo"]
    assert table.classes == ("no", "yes")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "row 1; name the columns there"),
        ("a,b\n", "a header and no rows"),
        ("a,b\n1,2\n3\n", "the row has 1 cells, the header 2, in .*row 3"),
        ("a,b\n1,2\n3,4,5\n", "the row has 3 cells, the header 2, in .*row 3"),
        ("a,a\n1,2\n", "two columns are named 'a'"),
        ("a,\n1,2\n", "column 2 has no name"),
        ('a,"b\nc"\n1,2\n', "column 2 has the name"),
        ("1.5,2\n1,2\n", "the first row holds numbers"),
        ("a;b\n1;2\n", "separated by ';'"),
        (b"a,b\n1,\xff\n", "byte 6 is not UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", "not UTF-8"),
        (b"a,b\n1,\0\n", "binary"),
        ('a,b\n1,"2\n', "not CSV"),
        ("a,b\n1,2\n3,\n", r"a value is missing \(''\), in .*row 3, column 'b'"),
        ("a,b\n1,2\n3,NaN\n", r"a value is missing \('nan'\), in .*row 3, column 'b'"),
        ("a,b\n1,2\n3,NA\n", r"a value is missing \('NA'\), in .*row 3, column 'b'"),
        ("a,b\nNone,2\nx,3\n", r"a value is missing \('None'\), in .*row 2, column 'a'"),
        ("a,b\nx,2\n?,3\n", r"a value is missing \('\?'\), in .*row 3, column 'a'"),
        ("a,b\n1,2\n1e999,3\n", "inf is not finite, in .*row 3, column 'a'"),
        (
            "a,b\n1,2\n2,3\n\nabc,4\n",
            "'abc' is not a number, in .*row 5, column 'a'; .*categorical",
        ),
        ("a,b\n1,2\n1_000,3\n", "'1_000' is not a number, in .*row 3, column 'a'"),
    ],
)
def test_bad_tables_are_one_sentence_with_the_place(tmp_path, text, says):
    with pytest.raises(DataError, match=says) as caught:
        read_table(csv(tmp_path, text), target="b")
    assert "\n" not in str(caught.value)
    assert "people.csv" in str(caught.value)


def test_a_column_that_is_not_there(tmp_path):
    path = csv(tmp_path, GOOD)
    with pytest.raises(DataError, match=r"target names the column 'agee'.*did you mean 'age'"):
        read_table(path, target="agee")
    with pytest.raises(DataError, match="weight names the column 'agee'"):
        read_table(path, target="age", weight="agee")
    with pytest.raises(DataError, match="categorical names the column 'agee'"):
        read_table(path, target="age", categorical=["agee"])
    with pytest.raises(DataError, match="ignore names the column 'agee'"):
        read_table(path, target="age", ignore=["agee"])


def test_an_absent_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        inputs_of(tmp_path / "absent.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="directory"):
        inputs_of(tmp_path / "folder.csv")


@pytest.mark.parametrize(
    ("values", "task", "y", "classes"),
    [
        (["b", "a", "b"], "auto", [1, 0, 1], ("a", "b")),
        ([10, 9, 10], "auto", [1, 0, 1], ("9", "10")),
        ([1.0, -1.0], "auto", [1, 0], ("-1", "1")),
        ([True, False], "auto", [1, 0], ("False", "True")),
        ([0.5, 1.5], "auto", [[0.5], [1.5]], None),
        ([0.5, 1.5], "classification", [0, 1], ("0.5", "1.5")),
        (list(range(21)), "auto", [[i] for i in range(21)], None),
        (list(range(20)), "auto", list(range(20)), tuple(map(str, range(20)))),
        ([0, 1], "regression", [[0], [1]], None),
        ([[0], [1]], "auto", [0, 1], ("0", "1")),
        ([[0, 1], [1, 0]], "auto", [[0, 1], [1, 0]], None),
    ],
)
def test_what_a_target_means(values, task, y, classes):
    got, names = targets_of(np.array(values), task, "here")
    assert got.tolist() == y
    assert names == classes


@pytest.mark.parametrize(
    ("values", "task", "says"),
    [
        (["a", "b"], "regression", "the target is text"),
        (["a", "a"], "auto", "a single class, 'a'"),
        ([[0, 1], [1, 0]], "classification", "the targets have 2 columns"),
        ([0.0, np.nan], "auto", r"y\[1\] is nan"),
        ([1j, 2j], "auto", "complex128"),
        ([[[0]]], "auto", r"shape \(1, 1, 1\)"),
    ],
)
def test_targets_that_mean_nothing(values, task, says):
    with pytest.raises(DataError, match=says):
        targets_of(np.array(values), task, "here")


def test_mixed_labels_are_classes_only_if_asked(tmp_path):
    path = csv(tmp_path, "a,y\n1,1\n2,2\n3,other\n")
    with pytest.raises(DataError, match="'other' is not a number"):
        read_table(path, target="y")
    assert read_table(path, target="y", task="classification").classes == ("1", "2", "other")
    assert read_table(path, target="y", categorical=["y"]).classes == ("1", "2", "other")
    coded = csv(tmp_path, "a,y\n1,01\n2,1\n")
    table = read_table(coded, target="y", categorical=["y"], task="classification")
    assert table.classes == ("01", "1")


@settings(max_examples=200)
@given(st.binary(max_size=80) | st.text('a1.,;"\n\r x', max_size=60).map(str.encode))
def test_arbitrary_csv_never_escapes(tmp_path_factory, content):
    path = csv(tmp_path_factory.mktemp("fuzz"), b"a,b\n" + content)
    try:
        table = inputs_of(path)
    except DataError as error:
        said = str(error)
        assert "\n" not in said
    else:
        assert len(table) >= 1


class TestParquet:
    @pytest.fixture
    def write(self, tmp_path):
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        def written(columns, **types):
            table = pyarrow.table(
                {
                    name: pyarrow.array(values, types[name]() if name in types else None)
                    for name, values in columns.items()
                }
            )
            parquet.write_table(table, tmp_path / "people.parquet")
            return tmp_path / "people.parquet"

        return written

    def test_agrees_with_csv(self, write, tmp_path):
        path = write(
            {
                "age": [31, 44, 28],
                "town": ["Oslo", "Bergen", "Oslo"],
                "income": [1e3, 2.5, -7.0],
                "bought": ["yes", "no", "yes"],
            }
        )
        a = read_table(path, target="bought")
        b = read_table(csv(tmp_path, GOOD), target="bought")
        assert a.inputs.keys() == b.inputs.keys()
        for name, cells in a.inputs.items():
            np.testing.assert_array_equal(cells, b.inputs[name])
        np.testing.assert_array_equal(a.y, b.y)
        assert a.classes == b.classes
        coded = read_table(path, target="bought", categorical=["age"]).inputs["age"]
        assert coded.tolist() == ["31", "44", "28"]

    def test_booleans_dictionaries_and_missing_values(self, write):
        import pyarrow

        path = write({"a": [True, False], "b": ["x", "y"], "c": [1, 2]})
        assert inputs_of(path).inputs["a"].tolist() == [1, 0]
        packed = pyarrow.array(["x", "y", "x"]).dictionary_encode()
        assert inputs_of(write({"b": packed})).inputs["b"].tolist() == ["x", "y", "x"]
        with pytest.raises(DataError, match=r"missing .*row 2, column 'a'"):
            inputs_of(write({"a": [1.0, None]}))
        with pytest.raises(DataError, match=r"missing .*row 1, column 'a'"):
            inputs_of(write({"a": [None, "x"]}))

    def test_unfit_files(self, write, tmp_path):
        with pytest.raises(DataError, match=r"type date32.*column 'a'"):
            inputs_of(write({"a": [date(2000, 1, 1)]}))
        with pytest.raises(DataError, match="no rows"):
            inputs_of(write({"a": np.zeros(0)}))
        (tmp_path / "people.parquet").write_bytes(b"PAR1 but not really PAR1")
        with pytest.raises(DataError, match="cannot read Parquet") as caught:
            inputs_of(tmp_path / "people.parquet")
        assert "\n" not in str(caught.value)
        with pytest.raises(DataError, match="cannot read Parquet"):
            inputs_of(tmp_path / "absent.parquet")

    def test_a_missing_package_is_one_sentence(self, write, monkeypatch):
        path = write({"a": [1]})
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(DataError, match=r"pip install 'pullback\[parquet\]'"):
            inputs_of(path)
