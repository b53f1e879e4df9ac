"""Files that are no isotherm, are uncertain or are damaged: refused in one line, with the place."""

import importlib.util
import json

import isotherm_writers as write
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isotherm_dialects import DIALECTS, LOOP, needs, read

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
    "RH (%),uptake (g/g)\n10,0.1\n50,0,2\n90,0.4\n": "row 3: 3 cells for 2 headings",
    "RH (%),uptake (g/g)\n10,0,1\n50,0,2\n90,0,4\n": "row 2: 3 cells for 2 headings",
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
    for record in document["isotherm_data"]:
        record["species_data"] = [{"adsorption": record.pop("total_adsorption")}]
    assert len(read(tmp_path, json.dumps(document)).branches.adsorption.content) > 2
    document["isotherm_data"][1]["species_data"] *= 2
    with pytest.raises(ValueError, match="point 2: total_adsorption is null"):
        read(tmp_path, json.dumps(document))
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
