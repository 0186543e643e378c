"""Tables as people have them, read as their owner means them, or refused with the remedy."""

import datetime as dt
import gzip
import os
from pathlib import Path

import pyarrow as pa
import pytest

from flowkit.errors import ArgumentError, DataError
from flowkit.tables import ReadOptions, TableFile, read_table
from flowkit.tables.relation import Relation

N = 40


def lines(header: str, row, n: int = N, end: str = "\n") -> str:
    """Return a text with a header and ``n`` rows, ``row(i)`` each."""
    return end.join([header, *(row(i) for i in range(n))]) + end


def read(folder: Path, text: str | bytes, name: str = "t.csv", **options):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, **options)


def said(reading) -> str:
    return "\n".join(map(str, reading.notes))


def x(i: int) -> float:
    return round((i * 37 % 101) / 7 + 1, 2)


def comma(value: object) -> str:
    return str(value).replace(".", ",")


def day(i: int) -> dt.date:
    return dt.date(2023, 1, 1) + dt.timedelta(days=i * 11 % 360)


def german(i: int) -> str:
    return (
        f"{day(i):%d.%m.%Y};{comma(x(i))};{'Köln' if i % 3 else 'Ulm'};{1000 + i * 97:,}".replace(
            ",", "."
        ).replace(f";{comma(x(i)).replace(',', '.')};", f";{comma(x(i))};")
    )


REAL = [x(i) for i in range(N)]
WHOLE = [1000 + i * 97 for i in range(N)]
DAYS = [day(i) for i in range(N)]
F, W, S, D = pa.float64(), pa.int64(), pa.string(), pa.date32()
T = pa.timestamp("us")

# name: (text, options, {column: (type, first values)}, parts of the notes)
READ = {
    "german": (
        lines("Tag;Größe;Ort;Preis", german).encode("cp1252"),
        {},
        {"Tag": (D, DAYS), "Größe": (F, REAL), "Ort": (S, ["Ulm", "Köln"]), "Preis": (W, WHOLE)},
        ["`;` as separator", "`,` as decimal", "windows-1252", "day first (--dates month-first)"],
    ),
    "pipe and thousands": (
        lines("a|b|c", lambda i: f"{WHOLE[i]:,}|{x(i)}|{'pq'[i % 2]}"),
        {},
        {"a": (W, WHOLE), "b": (F, REAL), "c": (S, ["p", "q"])},
        ["`|` as separator", "a: `1,000` read as 1000"],
    ),
    "tabs, comments and dashes": (
        "# made on Monday\n# by nobody\n"
        + lines("a\tb", lambda i: f"{'-' if i % 9 == 4 else x(i)}\t{i}", end="\n"),
        {},
        {"a": (F, [None if i % 9 == 4 else x(i) for i in range(N)]), "b": (W, list(range(N)))},
        ["lines that start with `#`", "`-` in 4 rows taken as missing (--present -)"],
    ),
    "quoted newlines": (
        lines("a,b", lambda i: f'{x(i)},"first ""{i % 3}"",\nsecond"'),
        {},
        {"a": (F, REAL), "b": (S, ['first "0",\nsecond', 'first "1",\nsecond'])},
        [],
    ),
    "European percent": (
        lines("a;b", lambda i: f"{comma(x(i))} %;{i}"),
        {},
        {"a": (F, REAL), "b": (W, [0, 1])},
        ["a: numbers, `%` taken off (--column a=text)", "`,` as decimal"],
    ),
    "ISO times with zones": (
        lines("t,a", lambda i: f"2023-03-{i % 28 + 1:02}T10:00:00+02:00,{i}"),
        {},
        {"t": (pa.timestamp("us", "UTC"), [dt.datetime(2023, 3, 1, 8, tzinfo=dt.UTC)])},
        ["t: times with the zones +02:00 kept as UTC"],
    ),
    "negatives in parentheses": (
        lines("a,b", lambda i: f'"{f"(${WHOLE[i]:,}.50)" if i % 2 else f"${WHOLE[i]:,}.50"}",1'),
        {},
        {"a": (F, [1000.5, -1097.5, 1194.5])},
        ["a: numbers, `$` taken off", "parentheses read as negative"],
    ),
    "codes with holes": (
        lines("zip,a", lambda i: f"{'' if i % 5 == 3 else f'0{i % 7}139'},{i}"),
        {},
        {"zip": (S, ["00139", "01139", "02139", None])},
        ["zip: text, as `00139` starts with a zero (--column zip=number)"],
    ),
    "currency code behind": (
        lines("a;b", lambda i: f"{WHOLE[i]:,}".replace(",", ".") + f",50 EUR;{i}"),
        {},
        {"a": (F, [1000.5, 1097.5])},
        ["`EUR` taken off", "`,` as decimal"],
    ),
    "unit": (
        lines("a,b", lambda i: f"{x(i)} kg,{i}"),
        {},
        {"a": (F, REAL)},
        ["a: numbers, `kg` taken off"],
    ),
    "unit without a blank": (
        lines("a,b", lambda i: f"{x(i)}°C,{i}"),
        {},
        {"a": (F, REAL)},
        ["`°C` taken off"],
    ),
    "American dates": (
        lines("d,a", lambda i: f"{day(i).month}/{day(i).day}/{day(i).year},{i}"),
        {},
        {"d": (D, DAYS)},
        ["d: dates read with the month first (--dates day-first)"],
    ),
    "dates that could be either": (
        lines("d,a", lambda i: f"{i % 12 + 1:02}/{i % 11 + 1:02}/2023,{i}"),
        {},
        {"d": (D, [dt.date(2023, 1, 1), dt.date(2023, 2, 2)])},
        ["month first, which no row of this column proves (--dates day-first)"],
    ),
    "dates that could be either, told": (
        lines("d,a", lambda i: f"03/{i % 11 + 1:02}/2023,{i}"),
        {"dates": "day-first"},
        {"d": (D, [dt.date(2023, 1, 3), dt.date(2023, 2, 3)])},
        [],
    ),
    "one column of dates shows the order of another": (
        lines("d,e", lambda i: f"{i % 11 + 1:02}/03/2023,{i % 28 + 1}/12/2022"),
        {},
        {"d": (D, [dt.date(2023, 3, 1), dt.date(2023, 3, 2)]), "e": (D, [dt.date(2022, 12, 1)])},
        ["e: dates read with the day first", "d: dates read with the day first, which no row"],
    ),
    "the proof of the order stands last": (
        lines("d,a", lambda i: f"{i % 12 + 1}/{min(i % 12 + 1, 12)}/2023,{i}", 3000)
        + "13/5/2023,1\n",
        {},
        {"d": (D, [dt.date(2023, 1, 1)])},
        ["d: dates read with the day first (--dates month-first)"],
    ),
    "month names": (
        lines("d,a", lambda i: f"{day(i):%d-%b-%Y},{i}"),
        {},
        {"d": (D, DAYS)},
        [],
    ),
    "two-digit years": (
        lines("d;a", lambda i: f"{day(i):%d.%m.%y};{i}"),
        {},
        {"d": (D, DAYS)},
        ["years of two digits read as 1969 to 2068"],
    ),
    "dates with clock and halves of the day": (
        lines("d,a", lambda i: f"8/{i % 28 + 1}/2023 {i % 12 + 1}:05 {'AP'[i % 2]}M,{i}"),
        {},
        {"d": (T, [dt.datetime(2023, 8, 1, 1, 5), dt.datetime(2023, 8, 2, 14, 5)])},
        ["month first"],
    ),
    "dates as whole numbers": (
        lines("d,a", lambda i: f"{day(i):%Y%m%d},{i}"),
        {},
        {"d": (D, DAYS)},
        ["whole numbers like 20230101 read as dates (--column d=number)"],
    ),
    "whole numbers that are no dates": (
        lines("n,a", lambda i: f"{20230100 + i * 7},{i}"),
        {},
        {"n": (W, [20230100, 20230107])},
        [],
    ),
    "times of day": (
        lines("t,a", lambda i: f"{i % 24:02}:{i % 60:02},{i}"),
        {},
        {"t": (pa.time64("us"), [dt.time(0, 0), dt.time(1, 1)])},
        ["t: times of day; elapsed times? (--column t=duration)"],
    ),
    "durations": (
        lines("t,a", lambda i: f"{i}:{i % 60:02}:30,{i}"),
        {},
        {"t": (pa.duration("us"), [dt.timedelta(seconds=30), dt.timedelta(seconds=3690)])},
        ["t: durations"],
    ),
    "an hour above 23 that stands last": (
        lines("t,a", lambda i: f"{i % 24}:{i % 60:02}:30,{i}", 3000) + "31:00:00,1\n",
        {},
        {"t": (pa.duration("us"), [dt.timedelta(seconds=30)])},
        ["t: durations"],
    ),
    "booleans": (
        lines("a,b,c", lambda i: f"{'True' if i % 3 else 'False'},{'yes' if i % 2 else 'no'},{i}"),
        {},
        {"a": (pa.bool_(), [False, True]), "b": (S, ["no", "yes"])},
        [],
    ),
    "totals below": (
        lines("g,a", lambda i: f"g{i % 3},{i}") + f"Total,{sum(range(N))}\n",
        {},
        {"a": (W, list(range(N)))},
        ["the last row, `Total`, left out, as it is one of totals (--total)"],
    ),
    "totals below dates": (
        lines("d,a", lambda i: f"{day(i)},{i}") + "Total,1\n",
        {},
        {"d": (D, DAYS)},
        ["`Total`, left out"],
    ),
    "a row called Total that adds nothing up": (
        lines("g,a", lambda i: f"{'Total' if i == N - 1 else 'Half'},{i}"),
        {},
        {"g": (S, ["Half", "Half"]), "a": (W, list(range(N)))},
        ["the last row is called `Total`, and kept"],
    ),
    "units below the names": (
        "mass,length,town\nkg,m,-\n" + lines("", lambda i: f"{x(i)},{i},u").lstrip("\n"),
        {},
        {"mass": (F, REAL), "length": (W, list(range(N)))},
        ["line 2 left out, a row of units: mass in kg, length in m"],
    ),
    "a title above": (
        "Report of the year\n\n" + lines("a,b,c", lambda i: f"{x(i)},{i},u"),
        {},
        {"a": (F, REAL), "b": (W, list(range(N)))},
        ["line 1 left out, as no row starts there (--skip)"],
    ),
    "names behind a comment sign": (
        lines("# a b c", lambda i: f"{x(i)} {i} {i * 2}"),
        {},
        {"a": (F, REAL), "b": (W, list(range(N)))},
        [],
    ),
    "comments among the rows": (
        lines("a,b", lambda i: f"{x(i)},{i}" + ("\n# odd one, above" if i == 7 else "")),
        {},
        {"a": (F, REAL), "b": (W, list(range(N)))},
        ["lines that start with `#` left out (--comment)"],
    ),
    "colours are no comments": (
        lines("a,b", lambda i: f"#ff{i % 7:02}00,{i}"),
        {},
        {"a": (S, ["#ff0000", "#ff0100"])},
        [],
    ),
    "an index of pandas": (
        lines(",a", lambda i: f"{i},{x(i)}"),
        {},
        {"index": (W, list(range(N))), "a": (F, REAL)},
        ["index: the first column counts the rows: an index? (--drop index)"],
    ),
    "names of rows from R": (
        lines('"a" "b"', lambda i: f'"{i + 1}" {x(i)} "{"pq"[i % 2]}"'),
        {},
        {"index": (W, [1, 2]), "a": (F, REAL), "b": (S, ["p", "q"])},
        ["read blanks as separator"],
    ),
    "a separator at the end of rows alone": (
        lines("a,b", lambda i: f"{x(i)},{i},"),
        {},
        {"a": (F, REAL), "b": (W, list(range(N)))},
        ["1 empty column left out"],
    ),
    "empty columns and rows": (
        lines("a,b,c,d", lambda i: f"{x(i)},,{i},") + ",,,\n,,,\n",
        {},
        {"a": (F, REAL), "c": (W, list(range(N)))},
        ["2 empty columns left out: b, d (--empty)", "2 rows without any value left out"],
    ),
    "UTF-16": (
        lines("a\tOrt", lambda i: f"{x(i)}\tKöln").encode("utf-16"),
        {},
        {"a": (F, REAL), "Ort": (S, ["Köln"])},
        ["UTF-16", "tabs"],
    ),
    "UTF-16 without its mark": (
        lines("a,Ort", lambda i: f"{x(i)},Köln").encode("utf-16-be"),
        {},
        {"a": (F, REAL), "Ort": (S, ["Köln"])},
        ["UTF-16"],
    ),
    "an odd letter far down": (
        (lines("a,b", lambda i: f"{x(i)},Ulm", 90_000) + "1.5,Köln\n").encode("latin-1"),
        {},
        {"a": (F, REAL[:3]), "b": (S, ["Ulm"])},
        ["windows-1252"],
    ),
    "two kinds of line ends": (
        lines("a,b", lambda i: f"{x(i)},{i}" + ("\r" if i % 2 else "")),
        {},
        {"a": (F, REAL), "b": (W, list(range(N)))},
        [],
    ),
    "line ends of an old Macintosh": (
        lines("a,b", lambda i: f"{x(i)},{i}", end="\r"),
        {},
        {"a": (F, REAL), "b": (W, list(range(N)))},
        [],
    ),
    "no header": (
        lines("2.5,7,b", lambda i: f"{x(i)},{i},{'ab'[i % 2]}"),
        {},
        {"x0": (F, [2.5, *REAL[:-1]]), "x1": (W, [7, 0]), "x2": (S, ["b", "a"])},
        ["the first row looks like data: columns are named x0 to x2 (--header)"],
    ),
    "years as names": (
        lines("country,2010,2011,2012", lambda i: f"c{i % 9},{x(i)},{x(i + 1)},{x(i + 2)}"),
        {},
        {"2010": (F, REAL)},
        ["the first row taken as names of columns (--no-header)"],
    ),
    "blanks and tabs between": (
        lines("a   b\tc", lambda i: f"  {x(i)}   {i} \t {'pq'[i % 2]}  ").encode(),
        {},
        {"a": (F, REAL), "b": (W, list(range(N))), "c": (S, ["p", "q"])},
        ["read blanks as separator"],
    ),
    "spaces behind commas": (
        lines("a, b, c", lambda i: f'{x(i)}, {i}, "u, v"'),
        {},
        {"a": (F, REAL), "b": (W, list(range(N))), "c": (S, ["u, v"])},
        [],
    ),
    "double colons": (
        lines("7::2::91", lambda i: f"{i}::{i % 5}::{97 + i}", 60),
        {},
        {"x0": (W, [7, 0]), "x1": (W, [2, 0])},
        ["`::` as separator"],
    ),
    "NA among codes of countries": (
        lines("c,a", lambda i: f"{('NA', 'DE', 'ZA')[i % 3]},{x(i)}"),
        {},
        {"c": (S, ["NA", "DE", "ZA"])},
        ["c: `NA` kept, as all others are codes of two letters (--missing NA)"],
    ),
    "NA among words": (
        lines("c,a", lambda i: f"{('NA', 'red', 'blue')[i % 3]},{x(i)}"),
        {},
        {"c": (S, [None, "red", "blue"])},
        ["c: `NA` in 14 rows taken as missing (--present NA)"],
    ),
    "NA among words, told": (
        lines("c,a", lambda i: f"{('NA', 'red', 'blue')[i % 3]},{x(i)}"),
        {"present": ("NA",)},
        {"c": (S, ["NA", "red", "blue"])},
        [],
    ),
    "None is a word": (
        lines("c,a", lambda i: f"{('None', 'Bay', 'Sea')[i % 3]},{x(i)}"),
        {},
        {"c": (S, ["None", "Bay", "Sea"])},
        ["c: `None` kept as a category (--missing None)"],
    ),
    "a missing value far down": (
        lines("a,b", lambda i: f"{x(i)},w", 5000) + "n/a,w\n1.5,?\n",
        {},
        {"a": (F, REAL), "b": (S, ["w"])},
        ["a: `n/a` in 1 row taken as missing", "b: `?` in 1 row taken as missing"],
    ),
    "a word far down in a column of unknowns": (
        lines("a,b", lambda i: f"{x(i)},unknown", 5000) + "1.5,phone\n",
        {},
        {"b": (S, ["unknown"])},
        [],
    ),
    "sentinels": (
        lines("a,b", lambda i: f"{-999 if i % 13 == 5 else x(i)},{i}"),
        {},
        {"a": (F, REAL[:5])},
        ["a: -999 in 3 rows: a point mass, or missing? (--missing -999)"],
    ),
    "sentinels, told": (
        lines("a,b", lambda i: f"{'-999.0' if i % 13 == 5 else x(i)},{i}"),
        {"missing": ("-999",)},
        {"a": (F, [None if i % 13 == 5 else x(i) for i in range(N)])},
        ["a: `-999.0` in 3 rows taken as missing"],
    ),
    "a leading zero far down": (
        lines("zip,a", lambda i: f"{10001 + i},{i}", 5000) + "02139,1\n",
        {},
        {"zip": (S, ["10001", "10002"])},
        ["zip: text, as `02139` starts with a zero"],
    ),
    "a decimal comma far down": (
        lines("a;b", lambda i: f"{i % 50};{i}", 5000) + "1,5;1\n",
        {},
        {"a": (F, [0.0, 1.0])},
        ["`,` as decimal mark"],
    ),
    "numbers too long to be numbers": (
        lines("card,a", lambda i: f"{4000123412340000000 + i},{i}"),
        {},
        {"card": (S, ["4000123412340000000"])},
        ["card: text, as `4000123412340000000` has more digits than a number keeps"],
    ),
    "ages in bands": (
        lines("age,a", lambda i: f"{('18-24', '25-30', '31-40')[i % 3]},{i}"),
        {},
        {"age": (S, ["18-24", "25-30"])},
        [],
    ),
    "mixed identifiers": (
        lines("ticket,a", lambda i: f"{f'A/5 {i}' if i % 4 == 0 else 3000 + i},{i % 3}"),
        {},
        {"ticket": (S, ["A/5 0", "3001"])},
        ["ticket: text, though many rows are numbers", "every row different: an identifier"],
    ),
    "apostrophes between thousands": (
        lines("a;b", lambda i: f"{WHOLE[i]:,}".replace(",", "'") + f".50;{i}"),
        {},
        {"a": (F, [1000.5, 1097.5])},
        ["a: `1'000.50` read as 1000.50"],
    ),
    "blanks between thousands": (
        lines("a;b", lambda i: f"{WHOLE[i]:,}".replace(",", "\u202f") + f",50;{i}"),
        {},
        {"a": (F, [1000.5, 1097.5])},
        ["`,` as decimal"],
    ),
    "points between thousands, in a file with decimal commas": (
        lines("a;b", lambda i: f"{WHOLE[i]:,}".replace(",", ".") + f";{comma(x(i))}"),
        {},
        {"a": (W, WHOLE), "b": (F, REAL)},
        ["a: `1.000` read as 1000"],
    ),
    "three decimals are no thousands": (
        lines("a,b", lambda i: f"1.{100 + i},{i}"),
        {},
        {"a": (F, [1.1, 1.101])},
        [],
    ),
    "quotes of the other kind": (
        lines("a,b", lambda i: f"{x(i)},'one, two'"),
        {},
        {"b": (S, ["one, two"])},
        [],
    ),
    "one column": (
        lines("a", lambda i: str(x(i))),
        {},
        {"a": (F, REAL)},
        [],
    ),
    "one column of times": (
        lines("t", lambda i: f"{i % 24:02}:{i % 60:02}:00"),
        {},
        {"t": (pa.time64("us"), [dt.time(0, 0), dt.time(1, 1)])},
        ["times of day"],
    ),
    "two ways to write dates": (
        lines("d,a", lambda i: f"{day(i)},{i}" if i % 2 else f"{day(i):%d/%m/%Y},{i}"),
        {},
        {"d": (D, DAYS)},
        ["dates written in 2 ways", "day first"],
    ),
    "a line for Excel on top": (
        "sep=;\n" + lines("a;b", lambda i: f"{comma(x(i))};{i}"),
        {},
        {"a": (F, REAL), "b": (W, [0, 1])},
        ["`,` as decimal"],
    ),
    "Markdown": (
        "| a | b |\n|---|---|\n" + lines("", lambda i: f"| {x(i)} | {'pq'[i % 2]} |").lstrip(),
        {},
        {"a": (F, REAL), "b": (S, ["p", "q"])},
        ["2 empty columns left out"],
    ),
    "addresses of machines": (
        lines("ip,a", lambda i: f"192.168.{i * 7}.{i * 5},{i % 3}"),
        {},
        {"ip": (S, ["192.168.0.0", "192.168.7.5"])},
        ["ip: every row different"],
    ),
    "telephone numbers": (
        lines("p,a", lambda i: f"+49 30 {4000000 + i * 97},{x(i)}"),
        {},
        {"p": (S, ["+49 30 4000000"]), "a": (F, REAL)},
        [],
    ),
    "months by name": (
        lines("m,a", lambda i: f"{('Jan', 'May', 'Sept')[i % 3]} {2020 + i % 4},{x(i)}"),
        {},
        {"m": (D, [dt.date(2020, 1, 1), dt.date(2021, 5, 1), dt.date(2022, 9, 1)])},
        ["m: months read as their first day (--column m=text)"],
    ),
    "months as whole numbers": (
        lines("month,a", lambda i: f"2023{i % 12 + 1:02},{x(i)}"),
        {},
        {"month": (D, [dt.date(2023, 1, 1), dt.date(2023, 2, 1)])},
        ["whole numbers like 202301 read as dates (--column month=number)"],
    ),
    "instants as whole numbers": (
        lines("t,a", lambda i: f"202303{i % 28 + 1:02}1015{i:02},{x(i)}"),
        {},
        {"t": (T, [dt.datetime(2023, 3, 1, 10, 15, 0), dt.datetime(2023, 3, 2, 10, 15, 1)])},
        ["whole numbers like 20230301101500 read as dates"],
    ),
    "dates of mails": (
        lines("t;a", lambda i: f"Fri, {i % 28 + 1} Jul 2023 10:00:0{i % 9} +0200;{i}"),
        {},
        {"t": (pa.timestamp("us", "UTC"), [dt.datetime(2023, 7, 1, 8, tzinfo=dt.UTC)])},
        ["+0200 kept as UTC"],
    ),
    "one column with a decimal comma": (
        lines("a", lambda i: comma(x(i))),
        {},
        {"a": (F, REAL)},
        ["`,` as decimal"],
    ),
    "one column of names": (
        lines("name", lambda i: f"Anna Smith {i % 7}"),
        {},
        {"name": (S, ["Anna Smith 0", "Anna Smith 1"])},
        ["one column, as no separator was found (--separator)"],
    ),
    "small numbers with a decimal comma": (
        lines("a;b", lambda i: f"{comma(f'{x(i) / 1e9:.3E}')};{i}"),
        {},
        {"a": (F, [float(f"{x(i) / 1e9:.3E}") for i in range(N)])},
        ["`,` as decimal"],
    ),
    "nothing but a blank between thousands": (
        lines("a;b", lambda i: f"{WHOLE[i]:,};{i}".replace(",", " ")),
        {},
        {"a": (W, WHOLE)},
        ["a: `1 000` read as 1000"],
    ),
    "numbers as names": (
        lines("0,1,2", lambda i: f"{x(i)},{x(i + 1)},{'pq'[i % 2]}"),
        {},
        {"0": (F, REAL), "2": (S, ["p", "q"])},
        ["the first row taken as names of columns"],
    ),
    "minus signs of typesetters": (
        lines("a,b", lambda i: f"{'−' if i % 2 else ''}{x(i)},{i}"),
        {},
        {"a": (F, [v * (-1) ** i for i, v in enumerate(REAL)])},
        [],
    ),
    "words for yes and no, told": (
        lines("a,b", lambda i: f"{('ja', 'Nein')[i % 2]},{i}"),
        {"columns": {"a": "boolean"}},
        {"a": (S, ["ja", "Nein"])},
        [],
    ),
    "hours as whole numbers": (
        lines("t,a", lambda i: f"20230101{i % 24:02},{x(i)}"),
        {},
        {"t": (T, [dt.datetime(2023, 1, 1, 0), dt.datetime(2023, 1, 1, 1)])},
        ["whole numbers like 2023010100 read as dates (--column t=number)"],
    ),
    "answers to a form of Google": (
        lines("t,a", lambda i: f"2023/01/{i % 28 + 1:02} {i % 11 + 1}:05:07 PM GMT+1,{i}"),
        {},
        {"t": (pa.timestamp("us", "UTC"), [dt.datetime(2023, 1, 1, 12, 5, 7, tzinfo=dt.UTC)])},
        ["t: times with the zones GMT+1 kept as UTC"],
    ),
    "a zone behind a half of the day": (
        lines("t,a", lambda i: f"2023-01-{i % 28 + 1:02} 1:05 PM +02:30,{i}"),
        {},
        {"t": (pa.timestamp("us", "UTC"), [dt.datetime(2023, 1, 1, 10, 35, tzinfo=dt.UTC)])},
        [],
    ),
    "German times": (
        lines(
            "t;u;v",
            lambda i: f"{i % 24}.{i:02} Uhr;{day(i):%d.%m.%Y} 14:05 Uhr;{i % 24}h{i:02}",
        ),
        {},
        {
            "t": (pa.time64("us"), [dt.time(0, 0), dt.time(1, 1)]),
            "u": (T, [dt.datetime(2023, 1, 1, 14, 5)]),
            "v": (pa.time64("us"), [dt.time(0, 0), dt.time(1, 1)]),
        },
        ["t: times of day"],
    ),
    "months in French and Swedish": (
        lines(
            "a;b",
            lambda i: (
                f"{i % 28 + 1} {('juin', 'juillet', 'août', 'février')[i % 4]} 2023;"
                f"{i % 28 + 1} {('maj', 'oktober', 'mars', 'juli')[i % 4]} 2023"
            ),
        ),
        {},
        {
            "a": (D, [dt.date(2023, 6, 1), dt.date(2023, 7, 2), dt.date(2023, 8, 3)]),
            "b": (D, [dt.date(2023, 5, 1), dt.date(2023, 10, 2), dt.date(2023, 3, 3)]),
        },
        [],
    ),
    "days of the week before dates": (
        lines("a;b", lambda i: f"{('Mo', 'Di', 'So')[i % 3]}, {day(i):%d.%m.%Y};{i}"),
        {},
        {"a": (D, DAYS)},
        ["day first"],
    ),
    "weeks, quarters and halves of years, told": (
        lines(
            "w,v,q,p,h",
            lambda i: (
                f"2023-W{i % 52 + 1:02},2021-W{i % 53 + 1:02}-7,{2020 + i % 3}-Q{i % 4 + 1},"
                f"Q{i % 4 + 1} 2023,2023H{i % 2 + 1}"
            ),
            50,
        ),
        {"columns": {"w": "date", "q": "date", "p": "date", "h": "date"}},
        {
            "w": (D, [dt.date(2023, 1, 2), dt.date(2023, 1, 9)]),
            "v": (D, [dt.date(2021, 1, 10), dt.date(2021, 1, 17)]),
            "q": (D, [dt.date(2020, 1, 1), dt.date(2021, 4, 1), dt.date(2022, 7, 1)]),
            "p": (D, [dt.date(2023, 1, 1), dt.date(2023, 4, 1)]),
            "h": (D, [dt.date(2023, 1, 1), dt.date(2023, 7, 1)]),
        },
        [
            "w: weeks read as their first day (--column w=text)",
            "q: quarters read as their first day (--column q=text)",
            "h: halves of years read as their first day (--column h=text)",
        ],
    ),
    "weeks and quarters, untold": (
        lines("w,q,p", lambda i: f"2023-W{i % 52 + 1:02},{2020 + i % 3}-Q{i % 4 + 1},2023H{i % 2}"),
        {},
        {"w": (S, ["2023-W01", "2023-W02"]), "q": (S, ["2020-Q1", "2021-Q2"])},
        [
            "w: weeks kept as text, not as their first days (--column w=date)",
            "q: quarters kept as text, not as their first days (--column q=date)",
        ],
    ),
    "months of two numbers": (
        lines("a;b;c", lambda i: f"{i % 12 + 1:02}.2020;{i % 12 + 1:02}/2020;Mar-{20 + i % 4}"),
        {},
        {
            "a": (D, [dt.date(2020, 1, 1), dt.date(2020, 2, 1)]),
            "b": (D, [dt.date(2020, 1, 1), dt.date(2020, 2, 1)]),
            "c": (D, [dt.date(2020, 3, 1), dt.date(2021, 3, 1)]),
        },
        ["a: months read as their first day"],
    ),
    "numbers like months": (
        lines("a,b", lambda i: f"1{i % 3}.2020,{i}"),
        {},
        {"a": (F, [10.202, 11.202])},
        [],
    ),
    "instants in seconds and days": (
        lines("ts,date,a", lambda i: f"{1672531200 + i * 977},{44927 + i * 7},{x(i)}"),
        {},
        {"ts": (W, [1672531200]), "date": (W, [44927])},
        [
            "ts: whole numbers like seconds since 1970: times? (--column ts=date)",
            "date: whole numbers like days as Excel counts them: times? (--column date=date)",
        ],
    ),
    "instants in seconds and days, told": (
        lines("ts,ms,date", lambda i: f"{1672531200 + i},{1672531200000 + i},{44927 + i}"),
        {"columns": {"ts": "date", "ms": "date", "date": "date"}},
        {
            "ts": (T, [dt.datetime(2023, 1, 1), dt.datetime(2023, 1, 1, 0, 0, 1)]),
            "ms": (T, [dt.datetime(2023, 1, 1), dt.datetime(2023, 1, 1, 0, 0, 0, 1000)]),
            "date": (D, [dt.date(2023, 1, 1), dt.date(2023, 1, 2)]),
        },
        [],
    ),
    "codes by their names": (
        lines("zip,customer_id,a", lambda i: f"{10001 + i * 7},{70 + i * 3},{x(i)}"),
        {},
        {"zip": (W, [10001, 10008])},
        ["zip: read as whole numbers; codes? (--column zip=text)", "customer_id: read as whole"],
    ),
    "versions": (
        lines("version,a", lambda i: f"1.{i % 12},{x(i)}"),
        {},
        {"version": (F, [1.0, 1.1])},
        ["version: `1.1` and `1.10` are one number: versions? (--column version=text)"],
    ),
    "codes like powers of ten": (
        lines("code,a", lambda i: f"{i % 9 + 1}E{i + 10},{x(i)}"),
        {},
        {"code": (F, [1e10, 2e11])},
        ["code: `1E10` read as a power of ten (--column code=text)"],
    ),
    "long whole numbers, told": (
        lines("n,a", lambda i: f"{10**20 + i},{i}"),
        {"columns": {"n": "number"}},
        {"n": (F, [1e20])},
        [],
    ),
    "thousands in India": (
        lines("a,b", lambda i: f'"{("1,23,456.50", "12,34,567.00", "5,678.25")[i % 3]}",{i}'),
        {},
        {"a": (F, [123456.5, 1234567.0, 5678.25])},
        [],
    ),
    "the sign in the note on thousands": (
        lines("a;b", lambda i: f"-{WHOLE[i]:,};{comma(x(i))}".replace(",", ".", 1)),
        {},
        {"a": (W, [-1000, -1097])},
        ["a: `-1.000` read as -1000"],
    ),
    "missing values of MySQL and of German surveys": (
        lines(
            "a,b",
            lambda i: f"{chr(92) + 'N' if i % 9 == 4 else x(i)},{i if i != 3 else 'k.A.'}",
        ),
        {},
        {"a": (F, [None if i % 9 == 4 else x(i) for i in range(N)]), "b": (W, [0, 1, 2, None])},
        ["`\\N` in 4 rows taken as missing", "`k.A.` in 1 row taken as missing"],
    ),
    "99 for no age": (
        lines("age,a", lambda i: f"{99 if i % 9 == 4 else 20 + i * 3 // 2},{x(i)}"),
        {},
        {"age": (W, [20, 21])},
        ["age: 99 in 4 rows: a point mass, or missing? (--missing 99)"],
    ),
    "telephone numbers with a plus": (
        lines("p,a", lambda i: f"+{16175550000 + i * 7},{x(i)}"),
        {},
        {"p": (S, ["+16175550000"])},
        ["p: text, as `+16175550000` is a telephone number or a code (--column p=number)"],
    ),
    "numbers with signs around them": (
        lines("a,b", lambda i: f"~{i},{x(i)} ± 0.{i % 4}"),
        {},
        {"a": (S, ["~0"]), "b": (S, ["1.0 ± 0.0"])},
        ["a: text, though values like `~0` hold numbers", "b: text, though values like"],
    ),
    "words that differ in case": (
        lines("a,b", lambda i: f"{('Yes', 'no', 'YES')[i % 3]},{x(i)}"),
        {},
        {"a": (S, ["Yes", "no"])},
        ["a: `YES` and `Yes` kept apart: they differ in their case"],
    ),
    "a sum in German": (
        lines("g;a", lambda i: f"g{i % 3};{i}") + f"\nGesamtsumme;{sum(range(N))}\n",
        {},
        {"a": (W, list(range(N)))},
        ["`Gesamtsumme`, left out"],
    ),
    "names with values above the table": (
        "Serial,12\nModel,X\n" + lines("a,b,c", lambda i: f"{x(i)},{i},u"),
        {},
        {"a": (F, REAL), "b": (W, [0, 1])},
        ["lines 1 to 2 left out"],
    ),
    "quotes behind backslashes": (
        lines("a,b", lambda i: rf'"he said \"a, {i % 3}\"",{x(i)}'),
        {},
        {"a": (S, ['he said "a, 0"', 'he said "a, 1"']), "b": (F, REAL)},
        [],
    ),
    "words behind a closed quote": (
        lines("a,b", lambda i: f'{i},"Bay" of {i % 3}').rstrip("\n"),
        {},
        {"a": (W, [0, 1]), "b": (S, ["Bay of 0"])},
        [],
    ),
    "a backslash as the last letter": (
        lines("a,b", lambda i: rf'"C:\data\{i % 3}\",{x(i)}'),
        {},
        {"a": (S, ["C:\\data\\0\\"]), "b": (F, REAL)},
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_read_as_meant(tmp_path, case):
    text, options, columns, notes = READ[case]
    reading = read(tmp_path, text, **options)
    for name, (kind, values) in columns.items():
        assert name in reading.table.column_names, reading.table.schema
        assert reading.table.schema.field(name).type == kind, said(reading)
        got = reading.table[name].to_pylist()[: len(values)]
        assert got == pytest.approx(values) if kind == F and None not in values else got == values
    for note in notes:
        assert note in said(reading)


ORDERS = {"%d.%m.%Y": ".", "%m/%d/%Y": "/", "%Y-%m-%d": "-", "%d %b %Y": " ", "%d/%m/%y": "/"}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", [".", ","])
@pytest.mark.parametrize("order", ORDERS)
def test_every_combination(tmp_path, separator, mark, order):
    """Separator, decimal mark, thousands, order of dates, encoding, quotes, missing and header."""
    number = list(ORDERS).index(order) + ",;\t|".index(separator)
    thousands = "," if mark == "." else "."
    encoding = ("utf-8", "cp1252", "utf-8-sig", "utf-16")[number % 4]
    missing = ("", "NA", "-", "?")[number % 4]
    end = ("\n", "\r\n")[number % 2]

    def row(i: int) -> str:
        price = f"{WHOLE[i]:,}.{i % 90 + 10}".translate(str.maketrans(",.", thousands + mark))
        cells = [
            f"{day(i):{order}}",
            str(x(i)).replace(".", mark) if i % 8 else missing,
            price,
            "Köln" if i % 2 else "Ulm",
            f"0{i % 9}",
        ]
        return separator.join(f'"{cell}"' if separator in cell else cell for cell in cells)

    text = lines(separator.join(["date", "x", "price", "town", "code"]), row, end=end)
    table = read(tmp_path, text.encode(encoding)).table
    assert table.schema.types == [D, F, F, S, S]
    assert table["date"].to_pylist() == DAYS
    assert table["x"].to_pylist() == [x(i) if i % 8 else None for i in range(N)]
    prices = [WHOLE[i] + (i % 90 + 10) / 100 for i in range(N)]
    assert table["price"].to_pylist() == pytest.approx(prices)
    assert table["town"].to_pylist() == ["Köln" if i % 2 else "Ulm" for i in range(N)]
    assert table["code"].to_pylist() == [f"0{i % 9}" for i in range(N)]


def test_plain_tables_have_no_notes(tmp_path):
    text = lines("a,b,c,d", lambda i: f"{x(i)},{i % 9},{'pq'[i % 2]},{day(i)}")
    reading = read(tmp_path, text)
    assert reading.notes == ()
    assert reading.table.schema.types == [F, W, S, D]
    assert reading.table.num_rows == N


NAMED = lambda i: f"{x(i)},{i}"  # noqa: E731
# name: (text, options, parts of the message)
REFUSED = {
    "a unit in some rows alone": (
        lines("a,b", lambda i: f"{x(i)}{'' if i == 17 else ' kg'},{i}"),
        ["column 'a', row 17 (line 19 of the file)", "a number with `kg`", "--missing"],
    ),
    "two units": (
        lines("a,b", lambda i: f"{x(i)} {'g' if i == 3 else 'kg'},{i}"),
        ["column 'a', row 3 (line 5", " g'"],
    ),
    "a typing error": (
        lines("a,b", lambda i: f"{'1.2.3' if i == 30 else x(i)},{i}"),
        ["column 'a', row 30 (line 32 of the file)", "'1.2.3'", "--column a=text"],
    ),
    "a typing error below lines in quotes": (
        lines("n,a", lambda i: f'"p\nq",{"oops" if i == 20 else x(i)}'),
        ["column 'a', row 20 (line 43 of the file)"],
    ),
    "a day that there is not": (
        lines("d,a", lambda i: f"{'2023-02-30' if i == 9 else day(i)},{i}"),
        ["column 'd', row 9 (line 11", "a date", "'2023-02-30'"],
    ),
    "dates of both orders": (
        lines("d,a", lambda i: f"{'13/01/2023' if i % 2 else '01/14/2023'},{i}", 2)
        + "".join(f"{i + 1:02}/{i + 14}/2023,1\n{i + 14}/{i + 2:02}/2023,1\n" for i in range(11)),
        ["column 'd', row 0 (line 2", "a date (day first)", "12 rows are not"],
    ),
    "one name twice": (
        lines("a,b,a", lambda i: f"{i},{x(i)},{i}"),
        ["column 'a'", "columns 1 and 3", "--drop '#3'"],
    ),
    "two rows of names": (
        "mean,mean,std\nheight,weight,height\n" + "".join(f"{x(i)},{i},{i}\n" for i in range(N)),
        ["one row of names", "line 2", "--skip"],
    ),
    "names alone": ("a,b\n", ["at least one row", "a, b"]),
    "a quote that is never closed": (
        lines("a,b", NAMED).replace("\n", '\n"', 6).replace('"', "", 5),
        ["a second \" in line 7", "none"],
    ),
    "NUL bytes": (lines("a,b", NAMED).replace("5", "\x00", 3), ["NUL byte", "line 4"]),
    "a line that is short": (
        lines("a,b,c", lambda i: f"{i},{x(i)}" + (",1" if i != 12 else "")),
        ["line 14 of t.csv", "expected 3 columns"],
    ),
    "a line that is long": (
        lines("a,b", lambda i: f"{i},{x(i)}" + (",1" if i == 12 else "")),
        ["line 14 of t.csv", "expected 2 columns"],
    ),
    "a page of the web": (
        "<!DOCTYPE html>\n<html><body>a,b</body></html>\n",
        ["text, as the name t.csv says", "HTML"],
    ),
    "a PDF": ("%PDF-1.7\nx,y\n", ["a PDF", "copy the table"]),
    "nothing but missing values": ("a,b\n?,NA\n?,NA\n", ["at least one value"]),
    "two rows of names, years above": (
        "2022,2022,2023\nmean,sd,mean\n" + "".join(f"{x(i)},{i},{i}\n" for i in range(N)),
        ["one row of names", "as line 2 is mean, sd, mean"],
    ),
    "two rows of names, groups above letters": (
        "Group,,Other\na,b,c\n" + "".join(f"{x(i)},{i},{i}\n" for i in range(N)),
        ["one row of names", "as line 2 is a, b, c"],
    ),
    "a word for missing values among numbers": (
        lines("a,b", lambda i: f"{'refused' if i % 4 == 1 else x(i)},{i}"),
        ["column 'a', row 1 (line 3", "as in 30 rows", "--missing refused"],
    ),
    "censored values from the first row on": (
        lines("a,b", lambda i: f"{'<0.5' if i % 9 == 0 else x(i)},{f'>{i}' if i == 0 else i}"),
        ["column 'a', row 0 (line 2", "'<0.5'"],
    ),
    "words for missing values from the first row on": (
        lines("a,b", lambda i: f"{'lost' if i % 9 == 0 else x(i)},{'gone' if i % 9 == 0 else i}"),
        ["column 'a', row 0 (line 2", "--missing lost"],
    ),
    "a quote that swallows the next line": (
        lines("a,b", lambda i: f'{i},"{"x" if i == 9 else "x" + chr(34)}'),
        ["a second \" in line 11 or after it"],
    ),
    "a quote that is open at the end": (
        lines("a,b", NAMED) + '7,"open\n', ["a second \" in line 42 or after it"],
    ),
    "a long field": ("a,b\n1," + "x" * 200_000 + "\n", ["line 2", "at most 131,072 letters"]),
    "JSON": ('{"a": 1}\n{"a": 2}\n', ["delimited text", "JSON", ".jsonl"]),
    "columns of fixed width": (
        lines("name          a", lambda i: f"{('New York', 'Rome')[i % 2]:<12} {i}"),
        ["one separator between fields", "columns of fixed width"],
    ),
    "two tables": (
        lines("a,b", NAMED) + lines("c,d,e", lambda i: f"{i},{i},1"),
        ["equally many fields in all lines", "2 between `,` in the first line, 3 in another"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_remedy(tmp_path, case):
    text, parts = REFUSED[case]
    with pytest.raises(DataError) as error:
        read(tmp_path, text)
    for part in parts:
        assert part in str(error.value)
    assert {p.name for p in tmp_path.iterdir()} == {"t.csv"}


def test_files_that_cannot_be_opened(tmp_path):
    good = lines("a,b", NAMED)
    (tmp_path / "houses.csv").write_text(good)
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(good.encode() * 500)[:-30])
    (tmp_path / "closed.csv").write_text(good)
    (tmp_path / "closed.csv").chmod(0)
    for name, parts in {
        "house.csv": ["none at", "there is houses.csv"],
        "empty.csv": ["at least one row", "empty"],
        "cut.csv.gz": ["whole gzip file", "cut off"],
        ".": ["a file", "folder", "houses.csv"],
    }.items():
        with pytest.raises((DataError, ArgumentError)) as error:
            read_table(tmp_path / name if name != "." else _folder(tmp_path))
        for part in parts:
            assert part in str(error.value)
    with pytest.raises(DataError, match="download it first"):
        read_table("https://example.org/houses.csv")
    with pytest.raises(DataError, match="the URL https://example.org/houses"):
        read_table(Path("https://example.org/houses"))
    (tmp_path / "houses.asc").write_text(good)
    assert read_table(tmp_path / "houses.asc").table.num_rows == N
    (tmp_path / "houses.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(DataError, match="a zip archive.*unpack it"):
        read_table(tmp_path / "houses.zip")
    if os.geteuid():
        with pytest.raises(DataError, match="no right to read"):
            read_table(tmp_path / "closed.csv")


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data.csv"
    folder.mkdir(exist_ok=True)
    (folder / "houses.csv").write_text("a\n1\n")
    return folder


FAR = 150_000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('1,2.5,"open', "in line 140002 or after it"),
        ("1,2.5", "line 140002 of t.csv: expected 3 columns"),
        ("# remark", "give --comment '#'"),
        ("1,2.5,\0", r"column 'c', row 140000 \(line 140002 of the file\).*NUL"),
        ("1,2.5x,t", r"column 'b', row 140000 \(line 140002 of the file\)"),
    ],
)
def test_a_fault_far_down(tmp_path, line, message):
    rows = [f"{i},{i % 1000 / 10},town{i % 5}" for i in range(FAR)]
    rows[140_000] = line
    with pytest.raises(DataError, match=message):
        read(tmp_path, "a,b,c\n" + "\n".join(rows) + "\n")


def test_a_large_file_that_is_cut_off(tmp_path):
    rows = [f"{i},{i * 7919 % 100_003}" for i in range(FAR)]
    whole = gzip.compress(("a,b\n" + "\n".join(rows) + "\n").encode())
    with pytest.raises(DataError, match="cut off before its end"):
        read(tmp_path, whole[:-5000], name="t.csv.gz")


def test_options_overrule_the_guess(tmp_path):
    text = lines("a,b,zip", lambda i: f'"{WHOLE[i]:,}",{i},0{i % 5}')
    reading = read(tmp_path, text, columns={"a": "text", "zip": "number"}, drop=["b"])
    assert reading.table.schema.types == [S, W]
    assert reading.table["a"][0].as_py() == "1,000"
    assert read(tmp_path, text, decimal=",").table["a"][1].as_py() == pytest.approx(1.097)
    assert read(tmp_path, text, keep=["zip"]).table.column_names == ["zip"]
    assert read(tmp_path, text, drop=["#1"]).table.column_names == ["b", "zip"]
    with pytest.raises(ArgumentError, match="drop"):
        read(tmp_path, text, drop=["c"])
    with pytest.raises(ArgumentError, match="some of separator"):
        read(tmp_path, text, seperator=";")


def test_names_with_glob_characters_and_quotes(tmp_path):
    text = lines('a\'b,"c""d",*', lambda i: f"{x(i)},{i},{i}")
    reading = read(tmp_path, text, name="a[1]*'; DROP.csv")
    assert reading.table.column_names == ["a'b", 'c"d', "*"]
    assert reading.table["a'b"].to_pylist() == REAL


@pytest.mark.parametrize("width", [1_500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_very_many_columns(tmp_path, width):
    names = ",".join(f"v{j}" for j in range(width))
    rows = "\n".join(",".join(str(i * j % 7 / 2) for j in range(width)) for i in range(3))
    reading = read(tmp_path, f"{names},zip\n" + rows.replace("\n", ",02139\n") + ",1\n")
    assert reading.table.num_columns == width + 1
    assert reading.table[f"v{width - 1}"].to_pylist() == [i * (width - 1) % 7 / 2 for i in range(3)]
    assert reading.table["zip"].to_pylist() == ["02139", "02139", "1"]


def test_batches_are_the_rows_in_their_order(tmp_path):
    n = 150_000
    text = lines("a,b", lambda i: f"{i},{'pq'[i % 2]}", n)
    (tmp_path / "t.csv").write_text(text)
    with TableFile(tmp_path / "t.csv") as file:
        assert file.n_rows == n
        batches = list(file.batches(10_000))
        assert max(batch.num_rows for batch in batches) <= 10_000
        assert pa.Table.from_batches(batches)["a"].to_pylist() == list(range(n))
        (tmp_path / "t.csv").write_text("a,b\n1,p\n")
        with pytest.raises(DataError, match="does not change"):
            list(file.batches())


HARD = {
    "semicolon": {"x": F, "y": W, "g": S},
    "pipe": {"x": F, "y": W, "g": S},
    "bom": {"x": F, "y": W},
    "thousands": {"price": W, "y": W},
    "percent": {"rate": F, "y": W},
    "eudates": {"date": D, "y": W},
    "mixdates": {"date": D, "y": W},
    "times": {"time": pa.time64("us"), "y": W},
    "yyyymmdd": {"date": D, "y": W},
    "zips": {"zip": S, "x": F},
    "bin01": {"b": W, "x": F},
    "latin1": {"x": F, "town": S},
    "question": {"x": F, "y": W},
    "emptycol": {"x": F, "y": W},
    "trailing1": {"x": F, "y": W},
    "names": {"email": S, "x": F},
    "pandasindex": {"index": W, "x": F, "y": W},
    "sentinel": {"x": F, "y": W},
    "noheader": {"x0": F, "x1": W, "x2": S},
    "quotes": {"x": F, "note": S},
    "country": {"country": S, "x": F},
}
HARD_NOTES = {
    "mixdates": "dates written in 2 ways",
    "question": "`?` in 5 rows taken as missing",
    "emptycol": "1 empty column left out: notes",
    "names": "every row different: an identifier",
    "pandasindex": "counts the rows: an index?",
    "sentinel": "-999 in",
    "noheader": "the first row looks like data",
    "country": "`NA` kept",
    "thousands": "`5,350` read as 5350",
}


def hard_tables() -> Path:
    home = os.environ.get("TABULAR_DATA_HOME")
    folder = Path(home).parent / "hard_tables" if home else Path("hard_tables")
    if not folder.is_dir():
        pytest.skip("the hard tables stand beside TABULAR_DATA_HOME, and are not there")
    return folder


@pytest.mark.parametrize("name", HARD)
def test_hard_tables(name):
    reading = read_table(hard_tables() / f"{name}.csv")
    assert {f.name: f.type for f in reading.table.schema} == HARD[name]
    assert reading.table.num_rows == 120
    assert HARD_NOTES.get(name, "") in said(reading)


def test_the_hard_table_that_is_refused():
    with pytest.raises(DataError, match="column 'x'.*columns 1 and 2"):
        read_table(hard_tables() / "dups.csv")


def test_rows_without_a_value_are_kept_where_asked(tmp_path):
    """A table that is scored must not lose a row; one that is fitted says what it lost."""
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,2\n,\n3,4\n,\n5,6\n")
    with TableFile(path) as file:
        assert file.n_rows == 3
        assert any("2 rows without any value left out" in str(note) for note in file.notes)
    with TableFile(path, ReadOptions(empty=True)) as file:
        assert file.read().to_pydict() == {"x": [1, None, 3, None, 5], "y": [2, None, 4, None, 6]}


# Texts far down in a column of decimals, some of which DuckDB's reader takes for numbers.
ODD = (
    *("1_000", "1_0.5", "007", " 5", "5 ", " ", "+2", "-0", "1e3", "1e400", "nan", "NA", "abc"),
    *('"1.5"', '""', '" 2.5"', '"1_000"', "1.000.000", "0x10", "inf", "true", "5%", "-999", "7."),
)


@pytest.mark.parametrize("odd", ODD)
def test_the_reader_of_the_file_makes_the_numbers_of_the_survey(tmp_path, monkeypatch, odd):
    rows = [f"{i % 97 + 0.25},{i % 7}.5,{'a_1' if i % 2 else 'b'},{i}" for i in range(8_000)]
    rows[7_500] = f"{odd},3.5,a_1,0"
    rows[7_600] = ",,,"

    def outcome() -> tuple[object, ...]:
        try:
            reading = read(tmp_path, "\n".join(["x_1,y,z,i", *rows]), columns={"z": "text"})
        except DataError as error:
            return (str(error),)
        return reading.table.schema, repr(reading.table.to_pydict()), reading.notes

    ours = outcome()
    monkeypatch.setattr(Relation, "reads_decimals", False)
    assert ours == outcome()


def test_a_plain_table_is_surveyed_in_one_scan(tmp_path, monkeypatch):
    scans = []
    rows = Relation.rows

    def counted(relation, query, **options):
        scans.append((query, relation.typed))
        return rows(relation, query, **options)

    monkeypatch.setattr(Relation, "rows", counted)
    text = lines(
        "x_1,n,town", lambda i: f"{i / 8 + 0.5},{i * i},{'Ulm' if i % 3 else 'Bonn_1'}", 4_000
    )
    with TableFile(_saved(tmp_path, text)) as file:
        assert file.n_rows == 4_000
    first, (query, typed) = scans
    assert "LIMIT" in first[0]
    assert list(typed) == [0]
    assert "TRY_CAST(t0" not in query


def _saved(folder: Path, text: str) -> Path:
    path = folder / "t.csv"
    path.write_text(text)
    return path
