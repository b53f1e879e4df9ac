"""One isotherm in many dialects, and how tests read a file."""

import importlib.util

import isotherm_writers as write
import pytest

from physopt.problems.ldft.isotherm_files.measured import read_measured
from physopt.problems.ldft.isotherm_files.water import saturation_pressure

LOOP = write.model_loop()
SATURATION = saturation_pressure(298.15)  # Pa


def needs(library, extra_name=None):
    missing = importlib.util.find_spec(library) is None
    return pytest.mark.skipif(missing, reason=f"{extra_name or library} is not installed")


def read(tmp_path, content):
    """Read the content of a file with an uninformative name."""
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
