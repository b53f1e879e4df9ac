"""Measured isotherms: the forms of instruments and databases, and conversions."""

import isotherm_writers as write
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isotherm_dialects import DIALECTS, LOOP, SATURATION, needs, read

from physopt.problems.ldft.isotherm_files import branches, humidity
from physopt.problems.ldft.isotherm_files.headings import heading
from physopt.problems.ldft.isotherm_files.water import saturation_pressure

POINTS = 20
needs_encodings = needs("charset_normalizer", "charset-normalizer")


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
    for bad, reason in (("n/a", "'n/a' is no number"), ("#REF!", "'#ERROR' is no number")):
        with pytest.raises(ValueError, match=rf"'Sheet1', cell C5 \(uptake g/g\): {reason}"):
            read(tmp_path, write.workbook({"Sheet1": [*rows[:4], ["", 90.0, bad]]}))
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
