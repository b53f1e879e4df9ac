"""One isotherm in the forms of instruments and databases; the numbers are a model's.

Each writer takes a loop and returns the content of a file.
"""

import io
import json
from dataclasses import dataclass

import numpy as np

from physopt.problems.ldft.isotherm_files.water import saturation_pressure


@dataclass(frozen=True)
class Loop:
    """Humidity rising and content of adsorption [n]; humidity falling and content [m]; g/g."""

    up: np.ndarray
    adsorbed: np.ndarray
    down: np.ndarray
    desorbed: np.ndarray

    @property
    def humidity(self):
        return np.concatenate([self.up, self.down])

    @property
    def content(self):
        return np.concatenate([self.adsorbed, self.desorbed])

    @property
    def labels(self):
        return ["ads"] * len(self.up) + ["des"] * len(self.down)

    def target(self, points):
        """Contents over their maximum at 1/points ... 1 and back to 0, by the definition."""
        largest, grid = self.content.max(), np.arange(1, points + 1) / points
        up = np.interp(grid, [0, *self.up], [0, *self.adsorbed]) / largest
        down = np.interp(
            grid,
            [0, *self.down[::-1], self.up[-1]],
            [0, *self.desorbed[::-1], self.adsorbed[-1]],
        )
        return np.concatenate([up, down[-2::-1] / largest, [0.0]])


def number(value):
    """The shortest text from which the same number is read."""
    return repr(float(value))


def model_loop(count=12):
    """A step at 0.35 in adsorption and at 0.25 in desorption, as of a microporous sorbent."""

    def uptake(h, step):
        return 0.42 / (1 + np.exp((step - h) / 0.03)) + 0.06 * h

    up = np.round(np.linspace(0.03, 0.93, count), 4)
    down = np.round(np.linspace(0.88, 0.04, count), 4)
    return Loop(up, uptake(up, 0.35), down, uptake(down, 0.25))


def table(
    loop, separator=",", comma=False, header=("RH (%)", "water content (g/g)"),
    scale=(100.0, 1.0), before=(), after="", newline="\n", branch=False, units=(), indent="",
    encoding="utf-8", labels=False, exchanged=False,
):  # fmt: skip
    """A text table in a dialect."""

    def written(value):
        return number(value).replace(".", ",") if comma else number(value)

    def row(cells):
        return indent + separator.join(cells) + after

    names = [*header, *(["branch"] if branch else [])]
    lines = [*before, *([row(names)] if header else []), *([row(units)] if units else [])]
    for k, (h, q) in enumerate(zip(loop.humidity, loop.content, strict=True)):
        if labels and k in (0, len(loop.up)):
            lines.append("DES" if k else "ADS")
        cells = [written(h * scale[0]), written(q * scale[1])]
        cells = cells[::-1] if exchanged else cells
        lines.append(row([*cells, *([loop.labels[k]] if branch else [])]))
    return (newline.join(lines) + newline).encode(encoding)


def wide(loop, order=slice(None, None, -1)):
    """Both branches side by side, each with its humidities."""
    lines = ["Adsorption,,Desorption,", "p/p0,mmol/g,p/p0,mmol/g"]
    rows = zip(loop.up, loop.adsorbed, loop.down[order], loop.desorbed[order], strict=True)
    lines += [",".join(number(v) for v in row) for row in rows]
    return "\n".join(lines).encode()


def belsorp_dat(loop):
    """A volumetric instrument: metadata in blocks, pressures in kPa, rows of zeros at the ends."""
    p0 = 3.14
    head = [
        "====================", " System property BELSORP-max", "====================",
        '"Instrument S/N:"\t00001', '"Adsorptive:"\tH2O', '"Meas. Temp./K:"\t298.0',
        '"Sample weight/g:"\t0.05120', '"Comment1:"\t"a sorbent"',
    ]  # fmt: skip
    columns = '"No."\t"Pe/kPa"\t"P0/kPa"\t"Vd/ml"\t"V/ml(STP) g-1"\t'
    lines = head
    for name, h, q in (
        ("Adsorption data", loop.up, loop.adsorbed),
        ("Desorption data", loop.down, loop.desorbed),
    ):
        lines += ["====================", f" {name}", "====================", columns]
        for k, (x, y) in enumerate(zip(h, q, strict=True), 1):
            lines.append(f"{k}\t{number(x * p0)}\t{p0:.4f}\t17.3\t{number(y * 1244)}\t")
        lines.append("0\t0\t0\t0\t0\t")
    return "\n".join(lines).encode()


def belsorp_csv(loop):
    """Branches named by lines of one cell."""
    lines = ["Serial number,00001", "Adsorptive,H2O", "Meas. Temp.,298,[K]", ""]
    lines += ["No,Pe/kPa,P0/kPa,p/p0,V/ml(STP) g-1", "ADS"]
    for name, h, q in (("", loop.up, loop.adsorbed), ("DES", loop.down, loop.desorbed)):
        lines += [name] * bool(name)
        for k, (x, y) in enumerate(zip(h, q, strict=True), 1):
            lines.append(f"{k},{number(x * 3.14)},3.14,{number(x)},{number(y * 1244)}")
    return "\n".join(lines).encode("shift_jis")


def micromeritics(loop):
    """A report with several pressures, elapsed times and a gap in which p0 is measured."""
    lines = [
        "Sample:\twater on a sorbent", "Analysis Adsorptive:\tWater", "Sample Mass:\t0.0512 g", "",
        "Relative Pressure (P/Po)\tAbsolute Pressure (kPa)\tQuantity Adsorbed (cm³/g STP)\t"
        "Elapsed Time (h:min)\tSaturation Pressure (kPa)",
        "\t\t\t00:55\t3.168",
    ]  # fmt: skip
    for k, (h, q) in enumerate(zip(loop.humidity, loop.content, strict=True)):
        lines.append(f"{number(h)}\t{number(h * 3.168)}\t{number(q * 1244)}\t{k:02d}:07\t3.168")
    return "\r\n".join(lines).encode("utf-16")


def quantachrome(loop):
    """Columns aligned by spaces, units in a row of their own between rulers."""
    lines = [
        "     Analysis Report", "Operator: a  Date: 2017/01/16", "Sample Desc: a  Comment: b",
        "Sample Weight: 0.0512 g  Bath temp: 298.0 K  Outgas Temp: 150.0 °C", "",
        "       Press          P0          Volume @ STP       Time", "",
        "       Torr           Torr        cc                 min",
        "------------------------------------------------------------",
    ]  # fmt: skip
    for k, (h, q) in enumerate(zip(loop.humidity, loop.content, strict=True)):
        lines.append(f"   {number(h * 23.8)}   23.8   {number(q * 64)}    {k + 1}.5")
    return "\n".join(lines).encode("cp1252")


def aif(loop, unit="kPa", p0=3.169, names=("_units_loading", "loading"), extra=()):
    """An Adsorption Information File."""
    lines = ["data_sample", "_audit_aif_version 1.0", "_exptl_adsorptive 'Water'",
             "_exptl_temperature 298.15", "_units_temperature K", f"_units_pressure {unit}",
             f"{names[0]} 'mmol/g'", *extra]  # fmt: skip
    for prefix, h, q in (
        ("_adsorp_", loop.up, loop.adsorbed),
        ("_desorp_", loop.down, loop.desorbed),
    ):
        lines += ["", "loop_", f"{prefix}pressure", f"{prefix}p0", f"{prefix}{names[1]}"]
        lines += [f"{number(x * p0)} {p0} {number(y * 55.5)}" for x, y in zip(h, q, strict=True)]
    return "\n".join(lines).encode()


def nist(loop, relative=False):
    """The JSON of the NIST/ARPA-E database; its pressures are in bar."""
    scale = 1.0 if relative else saturation_pressure(298.0) / 1e5
    key = "AAAA"
    records = [
        {
            "pressure": float(h * scale),
            "branch": "adsorp" if label == "ads" else "desorp",
            "species_data": [{"InChIKey": key, "composition": 1, "adsorption": float(q)}],
            "total_adsorption": float(q * 1000),
        }
        for h, q, label in zip(loop.humidity, loop.content, loop.labels, strict=True)
    ]
    return json.dumps({
        "adsorbates": [{"InChIKey": key, "name": "Water"}], "adsorbent": {"name": "a sorbent"},
        "adsorptionUnits": "mg/g", "pressureUnits": "RELATIVE" if relative else "bar",
        "temperature": 298, "isotherm_data": records,
    }).encode()  # fmt: skip


def pygaps(loop, **changes):
    """The JSON of pyGAPS, which marks points of desorption only."""
    records = [
        {"pressure": float(h * 100), "loading": float(q), **({"branch": "des"} if b else {})}
        for h, q, b in zip(
            loop.humidity, loop.content, [b == "des" for b in loop.labels], strict=True
        )
    ]
    return json.dumps({
        "adsorbate": "water", "material": "a sorbent", "temperature": 298, "temperature_unit": "K",
        "pressure_mode": "relative%", "pressure_unit": None, "loading_basis": "mass",
        "loading_unit": "g", "material_basis": "mass", "material_unit": "g",
        "file_version": "3.0", "isotherm_data": records, **changes,
    }).encode()  # fmt: skip


def workbook(sheets):
    """An .xlsx workbook of rows of cells."""
    from openpyxl import Workbook  # type: ignore[import-not-found]

    book = Workbook(write_only=True)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append([None if cell == "" else cell for cell in row])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def dvs_workbook(loop):
    """A gravimetric instrument: targets shared by both branches, whose turning point stands twice.

    The loop needs the same humidities in both branches. The other sheet holds the kinetics.
    """
    kinetics = [["Method Name:", "water"], ["Time [minutes]", "Mass [mg]", "dm (%) - ref"],
                *([k * 1.5, 10 + 0.1 * k, 1.0 * k] for k in range(5))]  # fmt: skip
    rows = [["DVS Isotherm Report"], [], ["Sample Name:", "a sorbent"], ["Temp:", "25.0 °C"],
            ["Vapour:", "Water"], [],
            ["", "Target", "Change In Mass (%) - ref"],
            ["", "% P/Po", "Sorption", "Desorption", "Hysteresis"]]  # fmt: skip
    down = dict(zip(loop.down, loop.desorbed, strict=True))
    for k, (h, q) in enumerate(zip(loop.up, loop.adsorbed, strict=True)):
        back = float(down[h] * 100) if h in down else ""
        rows.append(["" if k else "Cycle 1", float(h * 100), float(q * 100), back, ""])
    return workbook({"DVS Data": kinetics, "Iso Report": rows})
