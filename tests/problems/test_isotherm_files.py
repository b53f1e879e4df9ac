"""Measured isotherms: the forms of instruments and databases, conversions, and refusals."""

import importlib.util
import json

import isotherm_writers as write
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physopt.problems.ldft.isotherm_files import branches, humidity
from physopt.problems.ldft.isotherm_files.headings import heading
from physopt.problems.ldft.isotherm_files.measured import read_measured
from physopt.problems.ldft.isotherm_files.water import saturation_pressure

POINTS = 20
LOOP = write.model_loop()
SATURATION = saturation_pressure(298.15)  # Pa


def needs(library, extra_name=None):
    missing = importlib.util.find_spec(library) is None
    return pytest.mark.skipif(missing, reason=f"{extra_name or library} is not installed")


needs_encodings = needs("charset_normalizer", "charset-normalizer")


def read(tmp_path, content):
    """Read the content of a file whose name tells nothing."""
    path = tmp_path / "measured"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_measured(path)


DIALECTS = {
    "commas": write.table(LOOP),
    "semicolons, decimal commas": write.table(LOOP, ";", comma=True),
    "tabs": write.table(LOOP, "\t"),
    "tabs, decimal commas": write.table(LOOP, "\t", comma=True),
    "spaces": write.table(LOOP, " ", header=("RH/%", "water/(g/g)")),
    "spaces, decimal commas": write.table(LOOP, " ", comma=True, header=("RH/%", "water/(g/g)")),
    "aligned": write.table(LOOP, "    ", indent="   "),
    "bars": write.table(LOOP, " | "),
    "trailing commas": write.table(LOOP, after=",,"),
    "quoted decimal commas": write.table(LOOP, '","', comma=True, indent='"', after='"'),
    "commented heading": write.table(LOOP, header=("# RH (%)", "uptake (g/g)"), before=["# mine"]),
    "comments": write.table(LOOP, header=("RH (%)", "uptake (g/g)"), after=" # 25 C", before="#"),
    "per cent of mass": write.table(LOOP, header=("RH (%)", "Change In Mass (%) - ref"),
                                    scale=(100, 100)),
    "no headings": write.table(LOOP, header=(), scale=(100, 100)),
    "other headings": write.table(LOOP, header=("x", "y"), scale=(1, 100)),
    "p/p0 and mg/g": write.table(LOOP, header=("P/Po", "Uptake [mg g⁻¹]"), scale=(1, 1000)),
    "unit row": write.table(LOOP, header=("RH", "uptake"), units=("%", "mmol/g"),
                            before=["Sample:,a sorbent", "Temperature:,25 °C", ""]),
    "kPa and a temperature": write.table(LOOP, header=("p (kPa)", "uptake (wt%)"),
                                         scale=(SATURATION / 1e3, 100), before=["Temp.: 25.0 °C"]),
    "mbar and p0": write.table(LOOP, ";", comma=True, header=("p (mbar)", "n / mmol/g"),
                               scale=(31.7, 55.5), before=["Saturation pressure: 31,7 mbar"]),
    "Torr and K": write.table(LOOP, header=("Pressure / Torr", "cm³(STP)/g"), before=["T/K,298.15"],
                              scale=(SATURATION / 101325 * 760, 1244)),
    "a line for Excel": write.table(LOOP, ";", comma=True, before=["sep=;"]),
    "rows above like headings": write.table(LOOP, before=["Operator,A. Smith", "Kind,5 % error"]),
    "columns exchanged": write.table(LOOP, header=("uptake (g/g)", "RH (%)"), exchanged=True),
    "branch column": write.table(LOOP, branch=True),
    "lines that name branches": write.table(LOOP, labels=True),
    "side by side": write.wide(LOOP),
    "side by side, both rising": write.wide(LOOP, slice(None)),
    "UTF-8 with a mark": write.table(LOOP, encoding="utf-8-sig"),
    "UTF-16": write.table(LOOP, "\t", newline="\r\n", encoding="utf-16"),
    "UTF-16 without a mark": write.table(LOOP, encoding="utf-16-be"),
    "BELSORP .DAT": write.belsorp_dat(LOOP),
    "BELSORP .csv": write.belsorp_csv(LOOP),
    "Micromeritics": write.micromeritics(LOOP),
    "NIST": write.nist(LOOP),
    "NIST, relative": write.nist(LOOP, relative=True),
    "pyGAPS": write.pygaps(LOOP),
}  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
def test_one_isotherm_in_many_dialects_is_one_target(tmp_path, name):
    measured = read(tmp_path, DIALECTS[name])
    np.testing.assert_allclose(measured.target(POINTS, True), LOOP.target(POINTS), atol=1e-12)
    assert "adsorption 12 points, desorption 12 points" in measured.statement["branches"]
    assert "0.03 to 0.93" in measured.statement["humidity"]


def test_a_column_without_heading_may_name_the_branch(tmp_path):
    text = ",RH (%),uptake (g/g)\nAdsorption,10,0.1\nAdsorption,90,0.3\nDesorption,20,0.2\n"
    measured = read(tmp_path, text)
    assert measured.is_labelled
    np.testing.assert_allclose(measured.target(10, False)[0], 1 / 3)


@needs_encodings
@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (write.quantachrome(LOOP), "CP1252"),
        (write.table(LOOP, header=("rel. Feuchte (%)", "u (cm³/g)"), encoding="latin-1"), "CP1252"),
        (
            write.table(LOOP, before=["測定日,2020", "吸着温度,298"], encoding="shift_jis"),
            "SHIFT_JIS",
        ),
        (write.table(LOOP, before=["Образец: цеолит"], encoding="cp1251"), "CP1251"),
    ],
)
def test_old_encodings_are_recognised_and_stated(tmp_path, content, encoding):
    measured = read(tmp_path, content)
    np.testing.assert_allclose(measured.target(POINTS, True), LOOP.target(POINTS), atol=1e-12)
    assert f"{encoding} (recognised" in measured.statement["file"]


@needs("gemmi")
@pytest.mark.parametrize(
    "content",
    [
        write.aif(LOOP),
        write.aif(LOOP, unit="Torr", names=("_units_sorbed_amount", "amount")),
        write.aif(LOOP, unit="relative", p0=1.0),
        write.aif(LOOP).replace(b"_units_pressure kPa", b""),  # the ratio to p0 needs no unit
    ],
)
def test_adsorption_information_files(tmp_path, content):
    measured = read(tmp_path, content)
    np.testing.assert_allclose(measured.target(POINTS, True), LOOP.target(POINTS), atol=1e-12)
    assert measured.statement["file"] == "AIF file"
    assert measured.statement["adsorptive"] == "Water"


@needs("openpyxl")
def test_workbooks(tmp_path):
    """The turning point of this instrument stands in both columns."""
    top = write.Loop(LOOP.up, LOOP.adsorbed, LOOP.up[::-1], LOOP.adsorbed[::-1] + 0.01)
    top.desorbed[0] = top.adsorbed[-1]
    measured = read(tmp_path, write.dvs_workbook(top))
    np.testing.assert_allclose(measured.target(POINTS, True), top.target(POINTS), atol=1e-12)
    assert "'Iso Report'" in measured.statement["file"]
    assert "in %" in measured.statement["content"]
    rows = [[], ["", "RH", "uptake"], ["", "%", "g/g"], ["", 10.0, 0.1], ["", 90.0, 0.2]]
    plain = read(tmp_path, write.workbook({"Sheet1": rows, "Sheet2": [["notes"]]}))
    np.testing.assert_allclose(plain.target(2, False), [0.75, 1])
    with pytest.raises(ValueError, match=r"sheet 'Sheet1', cell C5 \(uptake g/g\): 'n/a' is no"):
        read(tmp_path, write.workbook({"Sheet1": [*rows[:4], ["", 90.0, "n/a"]]}))
    with pytest.raises(ValueError, match="'A', 'B' each hold a table"):
        read(tmp_path, write.workbook({"A": rows, "B": rows}))
    with pytest.raises(ValueError, match=r"no \.xlsx workbook"):
        read(tmp_path, b"PK\x03\x04 broken")


def test_the_second_cycle_is_left_out_and_stated(tmp_path):
    text = "cycle,RH (%),uptake (%)\ncycle 1,10,5\n,90,20\ncycle 2,10,6\n,90,21\n"
    measured = read(tmp_path, text)
    np.testing.assert_allclose(measured.branches.adsorption.content, [0.25, 1])
    assert measured.statement["left out"] == "cycle 1 of 2 read; 2 rows of others"


def test_another_table_below_is_left_out_and_stated(tmp_path):
    text = "RH (%),uptake (g/g)\n10,0.1\n90,0.3\n\nPore width (nm),dV/dW\n1,5\n2,7\n"
    measured = read(tmp_path, text)
    np.testing.assert_allclose(measured.branches.adsorption.humidity, [0.1, 0.9])
    assert measured.statement["left out"] == "row 5 and below: not read, as the table ends"


@pytest.mark.parametrize("largest", [0.95, 1.0, 1.003, 1.02])
def test_saturation_may_be_exceeded_a_little(tmp_path, largest):
    """p/p0 up to 1.02 stays a fraction, and per cent up to 102 stay per cent."""
    h, q = np.linspace(0.1, largest, 9), np.linspace(0.1, 0.5, 9)
    expected = np.interp(np.arange(1, 11) / 10, h, q / 0.5)
    for scale, name in ((1, "p/p0"), (1, "x"), (100, "RH (%)"), (100, "x")):
        rows = [f"{x * scale!r};{y!r}" for x, y in zip(h.tolist(), q.tolist(), strict=True)]
        text = "\n".join([f"{name};uptake (g/g)", *rows])
        np.testing.assert_allclose(read(tmp_path, text).target(10, False), expected, atol=1e-12)


def test_saturation_pressure_of_water():
    """The triple point, IAPWS-95 at 300 K, and the boiling point."""
    for kelvin, pascal in ((273.16, 611.657), (300, 3536.8), (373.1243, 101325)):
        np.testing.assert_allclose(saturation_pressure(kelvin), pascal, rtol=5e-5)
    with pytest.raises(ValueError, match="known from 273"):
        saturation_pressure(77.4)


REFUSED = {
    "x,q\n0.1,1\n1.03,2\n": r"row 3: the unit of .* is not stated, and 1.03 may be",
    "Time (min),uptake (g/g)\n1,1\n90,2\n": "no heading names both",
    "p/p0,q\n0.1,1\n1.5,2\n": r"row 3: the unit .* and 1.5 may be per cent or a pressure",
    "0.3,1\n28.9,2\n": r"row 2: the unit of .* and 28.9 may be per cent or a pressure",
    "RH (%),uptake (g/g)\n10,0.1\n103,0.2\n": r"row 3: column 'RH \(%\)' 103 % is .* of 1.03",
    "RH (%),uptake (g/g)\n0.1,0.1\n0.9,0.2\n": "stated in per cent, but its largest value is 0.9",
    "RH (%),uptake (g/g)\n-2,0.1\n90,0.2\n": r"row 2: column 'RH \(%\)' -2 %",
    "p (kPa),uptake (g/g)\n0.1,0.1\n3,0.2\n": "kPa needs the saturation pressure",
    "T = 20 C\nTemp: 25 °C\nTemp: 30 C\np (kPa),uptake (g/g)\n0.1,0.1\n3,0.2\n": "kPa needs the",
    "Adsorptive: N2\nTemp: 25 C\np (kPa),n (mmol/g)\n1,1\n3,2\n": "saturation pressure of n2",
    "Temp: 25 C\np (kPa),q (g/g)\n1,1\n4,2\n": r"row 4: column 'p \(kPa\)' 4 kPa .* of 1.262",
    "p,n (mmol/g)\n1,1\n3,2\n": r"the unit of column 'p' is not stated",
    "p (kPa),p0,n (mmol/g)\n1,3,1\n3,3,2\n": "must both state their unit",
    "p (kPa),p0 (kPa),n (mmol/g)\n1,3.1,1\n3,0,2\n": r"row 3: column 'p0 \(kPa\)' is 0",
    "RH (%),Mass (mg)\n10,9\n90,12\n": "'Mass .mg.' is the mass of the sample with its water",
    "RH (%),water (% wet basis)\n10,9\n90,12\n": "wet basis",
    "RH (%),A (g/g),B (g/g)\n10,9,3\n90,12,10\n": "'A .g/g.' and 'B .g/g.' hold different",
    "RH (%),n (mmol/g),RH (%),n (mmol/g)\n10,9,3,4\n90,12,10,5\n": "leave open which",
    "RH (%),uptake (g/g)\n10,\n90,0.2\n": r"expected two columns|row 2, column 2 .* is empty",
    "RH (%),uptake (g/g)\n10,0.1\n50,--\n90,0.2\n": r"row 3, column 2 \(uptake .*\): '--' is no",
    "RH (%),uptake (g/g)\n10,0.1\npump failed\n90,0.2\n": "row 3: 'pump failed' stands between",
    "RH (%),uptake (g/g)\n10,0.1\nn/a,n/a\n90,0.2\n": "row 3: 'n/a' stands between",
    "RH (%) water content (g/g)\n10 0.1\n90 0.2\n": "row 1: 3 headings for 2 numbers",
    "RH (%),uptake (g/g)\n10,0.1\n50,0.3\n40,0.2\n90,0.4\n": r"row \d: the relative humidity turns",
    "RH (%),uptake (g/g)\n10,0.1\n50,0.2\n50,0.3\n90,0.4\n": "row 4: the content differs by 25 %",
    "RH (%),uptake (g/g),branch\n10,0.1,ads\n90,0.2,x\n": r"row 3, column 3: 'x' names no branch",
    "RH (%),uptake (g/g),branch\n10,0.1,des\n90,0.2,des\n": "no point of the adsorption branch",
    "RH (%),uptake (g/g)\n10,0.1\n": "two columns",
    "RH (%),uptake (g/g)\n10,0\n90,0\n": "no value above 0",
    "": "two columns",
    "1,234.5,2\n2,345.6,3\n": "two columns",
    b"\xd0\xcf\x11\xe0\xa1\xb1": "old .xls",
    bytes(range(256)): "binary",
    b"\xff\xfe1": "UTF-16",
    "{": "JSON cannot be parsed",
    "[1]": "no isotherm",
    '{"a": 1}': "isotherm_data",
    '{"isotherm_model": {}}': "fitted model",
}


@pytest.mark.parametrize("content", REFUSED, ids=range(len(REFUSED)))
def test_what_is_uncertain_is_refused_with_place_and_reason(tmp_path, content):
    with pytest.raises(ValueError, match=REFUSED[content]) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pressure_mode": "absolute", "pressure_unit": "furlong"}, "furlong"),
        ({"pressure_mode": "log"}, "pressure_mode 'log'"),
        ({"isotherm_data": []}, "isotherm_data"),
        ({"isotherm_data": [{"pressure": 1.0, "loading": None}]}, "point 1: loading is null"),
        ({"isotherm_data": [{"pressure": 1, "loading": 1, "branch": "x"}]}, "branch 'x'"),
        ({"isotherm_data": [3]}, "point 1: pressure is null"),
    ],
)
def test_damaged_json_is_refused(tmp_path, changes, reason):
    with pytest.raises(ValueError, match=reason):
        read(tmp_path, write.pygaps(LOOP, **changes))
    document = json.loads(write.nist(LOOP))
    document["adsorbates"] = None
    assert "adsorptive" not in read(tmp_path, json.dumps(document)).statement
    document["adsorbates"] = [{"name": "H2O"}, {"name": "N2"}]
    with pytest.raises(ValueError, match="mixture"):
        read(tmp_path, json.dumps(document))


@needs("gemmi")
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"loop_", b"loop_ loop_", "cannot be parsed"),
        (b"_adsorp_loading", b"_adsorp_other", "lacks"),
        (b"_units_pressure kPa", b"_units_pressure furlong", "furlong"),
        (b"3.169 ", b"x ", "point 1: 'x' is no number"),
    ],
)
def test_damaged_adsorption_information_files_are_refused(tmp_path, old, new, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        read(tmp_path, write.aif(LOOP).replace(old, new, 1))
    assert "\n" not in str(caught.value)


def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for content, name in ((b"PK\x03\x04", "openpyxl"), (write.aif(LOOP), "gemmi")):
        with pytest.raises(ValueError, match=rf"needs {name}: pip install physopt\[isotherms\]"):
            read(tmp_path, content)
    with pytest.raises(ValueError, match=r"row 4: .* pip install physopt\[isotherms\]"):
        read(tmp_path, write.quantachrome(LOOP))


def test_what_is_not_measured_and_not_used_is_stated(tmp_path):
    measured = read(tmp_path, write.table(LOOP, branch=True))
    np.testing.assert_allclose(measured.target(POINTS, False), LOOP.target(POINTS)[:POINTS])
    stated = measured.stated(desorption=False)
    assert "the target is adsorption" in stated["branches"]
    assert stated["not measured"] == "from zero content at 0 linear to 0.03, constant above 0.93"
    nitrogen = read(tmp_path, "Adsorptive: N2\np/p0,n (mmol/g)\n0.1,1\n0.9,2\n")
    assert nitrogen.statement["adsorptive"].startswith("n2, not water")
    full = read(tmp_path, "RH (%),filling\n0,0\n100,0.8\n").stated(desorption=False)
    assert "not measured" not in full
    assert "a filled fraction as it is" in full["content"]
    with pytest.raises(ValueError, match="problem=ldft_hysteresis"):
        read(tmp_path, write.table(LOOP)).target(POINTS, False)
    with pytest.raises(ValueError, match="falling humidity"):
        read(tmp_path, "RH (%),q (g/g)\n10,0.1\n90,0.2\n").target(POINTS, True)


steps = st.floats(0.2, 1)


@st.composite
def loops(draw):
    """Humidities further apart than drift, and desorption above adsorption."""
    count = draw(st.integers(3, 10))
    up = np.cumsum([draw(steps) for _ in range(count)])
    up = np.round(up / up[-1] * draw(st.floats(0.7, 1.0)), 6)
    content = np.cumsum([draw(steps) for _ in range(count)])
    return write.Loop(up, content, up[-2::-1], content[-2::-1] + 0.3 * np.diff(content)[::-1])


@settings(max_examples=60, deadline=None)
@given(
    loop=loops(),
    separator=st.sampled_from([",", ";", "\t", "|", "   "]),
    comma=st.booleans(),
    axis=st.sampled_from([("RH (%)", 100.0), ("p/p0", 1.0), ("p (kPa)", SATURATION / 1e3)]),
    content=st.sampled_from([("uptake (g/g)", 1.0), ("dm (%)", 100.0), ("n (mmol/g)", 55.5)]),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-8-sig", "utf-16-le"]),
    after=st.sampled_from(["", "  "]),
    form=st.sampled_from([{}, {"branch": True}, {"labels": True}]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_any_isotherm_in_any_dialect_is_the_same_target(
    tmp_path_factory, loop, separator, comma, axis, content, encoding, after, form, newline
):
    text = write.table(
        loop, separator, comma and separator != ",", (axis[0], content[0]),
        (axis[1], content[1]), before=["Temperature: 25 °C", ""], after=after, newline=newline,
        encoding=encoding, **form,
    )  # fmt: skip
    measured = read(tmp_path_factory.getbasetemp(), text)
    np.testing.assert_allclose(measured.target(POINTS, True), loop.target(POINTS), atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    noise=st.lists(st.floats(-0.002, 0.002), min_size=9, max_size=9),
    repeats=st.lists(st.integers(1, 3), min_size=9, max_size=9),
)
def test_small_drifts_and_repeats_move_the_curve_by_no_more_than_themselves(noise, repeats):
    """With slope 1, contents move by at most the shift of the humidities."""
    h = np.repeat(np.linspace(0.1, 0.9, 9), repeats)
    drift = h + np.resize(noise, len(h))
    places = [str(k) for k in range(len(h))]
    result = branches.split(drift, h.copy(), None, places)
    assert result.desorption is None
    up = result.adsorption
    assert (np.diff(up.humidity) > 0).all()
    assert abs(up.humidity - up.content).max() <= 0.002 + 1e-12
    assert bool(result.repairs) == (len(up.humidity) < len(h))


def test_a_turning_point_that_stands_twice_belongs_to_both_branches():
    h = np.array([0.1, 0.5, 0.9, 0.9, 0.5, 0.1])
    content = np.array([0.1, 0.3, 1.0, 1.0, 0.6, 0.2])
    twice = branches.split(h, content, None, "abcdef")
    once = branches.split(np.delete(h, 2), np.delete(content, 2), None, "abcde")
    named = branches.split(h, content, np.arange(6) > 2, "abcdef")
    for one in (once, named):
        for name in ("adsorption", "desorption"):
            a, b = getattr(twice, name), getattr(one, name)
            np.testing.assert_array_equal(a.humidity, b.humidity)
            np.testing.assert_array_equal(a.content, b.content)
    assert twice.desorption is not None
    np.testing.assert_array_equal(twice.desorption.content, [0.2, 0.6, 1.0])


def test_noise_of_a_dry_sample_is_set_to_zero_and_stated(tmp_path):
    measured = read(tmp_path, "RH (%),dm (%)\n-0.1,-0.02\n50,10\n90,20\n")
    np.testing.assert_allclose(measured.branches.adsorption.content, [0, 0.5, 1])
    assert measured.branches.adsorption.humidity[0] == 0
    assert "1 contents just below 0 set to 0" in measured.statement["repaired"]
    assert humidity.LOWEST < -0.001


@pytest.mark.parametrize(
    ("text", "quantity", "unit"),
    [
        ("Target RH (%)", "relative", "%"), ("% P/Po", "relative", "%"), ("a_w", "relative", None),
        ("p/p₀ (-)", "relative", "fraction"), ("rel. Feuchte [%]", "relative", "%"),
        ("Partial Pressure (Solvent A) [%]", "relative", "%"),
        ("Absolute Pressure (kPa)", "pressure", "kPa"), ("Pe/kPa", "pressure", "kPa"),
        ("Saturation Pressure (kPa)", "saturation", "kPa"), ("P0/Torr", "saturation", "Torr"),
        ("Quantity Adsorbed (cm³/g STP)", "content", "cm3/g stp"), ("u (g/g)", "content", "g/g"),
        ("V/ml(STP) g-1", "content", "ml(stp) g-1"), ("Moisture content (%)", "content", "%"),
        ("Pore Volume (cm³/g)", "other", None), ("Elapsed Time (h:min)", "other", None),
        ("Temperature (°C)", "other", None), ("Density (g/cm3)", "other", None),
        ("Hysteresis", "other", None), ("Vd/ml", "other", None), ("Mass [mg]", "unknown", None),
    ],
)  # fmt: skip
def test_headings_name_quantities_and_units(text, quantity, unit):
    assert (heading(text).quantity, heading(text).unit) == (quantity, unit)


BYTES = [*DIALECTS.values(), write.aif(LOOP), write.quantachrome(LOOP)]


@settings(max_examples=300, deadline=None)
@given(
    content=st.sampled_from(BYTES),
    start=st.floats(0, 1),
    length=st.integers(0, 60),
    inserted=st.one_of(
        st.binary(max_size=6),
        st.sampled_from([b"nan", b"1e999", b'"', b"null", b"[]", b"\n\n", b"loop_", b",,", b"-"]),
    ),
)
def test_a_damaged_file_is_read_or_refused_in_one_line(
    tmp_path_factory, content, start, length, inserted
):
    cut = int(start * len(content))
    damaged = content[:cut] + inserted + content[cut + length :]
    try:
        up = read(tmp_path_factory.getbasetemp(), damaged).branches.adsorption
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert (np.diff(up.humidity) > 0).all()
        assert np.isfinite(up.content).all()
        assert up.content.max() <= 1
    assert "\n" not in refusal
