"""Pictures and tables of docs/performance.md, from what scaling.py has measured and nothing else:
the same figures give the same bytes."""

import math

from svg import GRID, INK, NOTE, document, dot, line, polyline, text

BEGIN, END = "<!-- figures: written by tests/bench/scaling.py -->", "<!-- end of figures -->"
BLUE, ORANGE, GREY = "#1d4ed8", "#c2410c", "#9ca3af"
WIDTH, HEIGHT, GAP_X, GAP_Y, LEFT, TOP, BOTTOM = 260, 170, 84, 92, 70, 64, 56
KIB = 1024


# --- figures ---

def curve(found, name):
    return found["curves"][name]


def last_two(found, name, figure):
    """By how much the figure grows for each more of x, from the first to the last of a curve."""
    first, last = curve(found, name)[0], curve(found, name)[-1]
    return (last[figure] - first[figure]) / (last["x"] - first["x"])


def added(found, name):
    """Bytes for each idle one, at their highest number."""
    last = curve(found, name)[-1]
    return (last["memory_idle_bytes"] - last["memory_bare_bytes"]) / last["x"]


# --- axes ---

class Axis:
    """Logarithmic; a zero stands one decade below the smallest of the others."""

    def __init__(self, values, begin, end, whole_decades):
        positive = [value for value in values if value > 0]
        low, high = math.log10(min(positive)), math.log10(max(positive))
        self.zero = min(values) == 0
        if whole_decades:
            low, high = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
        self.low, self.high = low - (1 if self.zero else 0), high
        self.begin, self.end = begin, end

    def at(self, value):
        if self.high == self.low:
            return (self.begin + self.end) / 2
        log = self.low if value == 0 else math.log10(value)
        return self.begin + (self.end - self.begin) * (log - self.low) / (self.high - self.low)

    def decades(self):
        return [10 ** power for power in range(math.ceil(self.low + self.zero),
                                               math.floor(self.high) + 1)]


def short(value):
    """12 -> 12, 4096 -> 4k, 10000 -> 10k, 1000000 -> 1M; and 0.1 as it is."""
    kilo = KIB if value % KIB == 0 else 1000
    for unit, letter in ((10 ** 6, "M"), (kilo, "k")):
        if value >= unit:
            return f"{value / unit:.0f}{letter}"
    return f"{value:g}"


def panel(left, top, title, x_name, series):
    """One plot: series of (name, colour, [(x, y), or (x, y, lowest, highest)])."""
    points = [point for _, _, points in series for point in points]
    x_axis = Axis([point[0] for point in points], left, left + WIDTH, False)
    y_axis = Axis([y for point in points for y in point[1:]], top + HEIGHT, top, True)
    out = [text(left, top - 30, title, 13, weight="bold", anchor="start"),
           text(left + WIDTH // 2, top + HEIGHT + 38, x_name, 11, NOTE)]
    for value in y_axis.decades():
        y = y_axis.at(value)
        out += [line(left, y, left + WIDTH, y, GRID),
                text(left - 8, round(y) + 4, short(value), 11, NOTE, anchor="end")]
    taken = -math.inf
    for value in sorted({point[0] for point in points}):
        x = x_axis.at(value)
        out.append(line(x, top + HEIGHT, x, top + HEIGHT + 4, INK))
        if x - taken >= 26:
            out.append(text(round(x), top + HEIGHT + 18, short(value), 11, NOTE))
            taken = x
    out.append(line(left, top + HEIGHT, left + WIDTH, top + HEIGHT, INK))
    for number, (name, colour, points) in enumerate(series):
        out.append(text(left + WIDTH * number // len(series), top - 12, name, 11, colour,
                        anchor="start"))
        for x, _, *span in points:
            if span:
                out.append(line(x_axis.at(x), y_axis.at(span[0]), x_axis.at(x),
                                y_axis.at(span[1]), colour))
        where = [(x_axis.at(point[0]), y_axis.at(point[1])) for point in points]
        out += [polyline(where, colour), *(dot(x, y, colour) for x, y in where)]
    return out


def grid(rows, note):
    """A picture of panels: rows of (title, name of x, series)."""
    width = LEFT + (WIDTH + GAP_X) * max(len(row) for row in rows) - GAP_X + 24
    height = TOP + (HEIGHT + GAP_Y) * len(rows) - GAP_Y + BOTTOM + 20
    out = []
    for number, row in enumerate(rows):
        for column, (title, x_name, series) in enumerate(row):
            out += panel(LEFT + (WIDTH + GAP_X) * column, TOP + (HEIGHT + GAP_Y) * number, title,
                         x_name, series)
    out.append(text(width // 2, height - 8, note, 11, NOTE))
    return document(width, height, out)


def rates(rows, colour=BLUE, name="median, lowest to highest", shift=0):
    return name, colour, [(row["x"] + shift, row["tx_per_s"], row["tx_per_s_low"],
                           row["tx_per_s_high"]) for row in rows]


def latencies(rows, shift=0):
    return [(name, colour, [(row["x"] + shift, row[figure] / 1000) for row in rows])
            for name, colour, figure in (("p50", BLUE, "p50_us"), ("p99", ORANGE, "p99_us"))]


def pair(found, name, x_name, shift=0):
    """tx/s and latency over one curve."""
    rows = curve(found, name)
    return [("transactions per second", x_name, [rates(rows, shift=shift)]),
            ("latency, ms", x_name, latencies(rows, shift))]


def runs(found):
    return (f"one run of {found['seconds']} s each" if found["repeat"] == 1
            else f"medians of {found['repeat']} runs of {found['seconds']} s")


def pictures(found):
    note = f"{runs(found)}, 2pc over null participants; {found['machine']['cores']} cores"
    alone = ("latency of one at a time, ms", "participants of a transaction",
             [*latencies(curve(found, "branches_alone")),
              ("p50, 16 in a process", GREY, [(row["x"], row["p50_us"] / 1000)
                                               for row in curve(found, "branches_together")])])
    doubt = [(name, colour, [(row["count"], row[figure]) for row in found["in_doubt"]])
             for name, colour, figure in (("answers", BLUE, "answered_s"),
                                          ("all obeyed", ORANGE, "obeyed_s"))]
    lookups = [(name, colour, [(row["count"], row[figure] / 1000) for row in found["lookups"]])
               for name, colour, figure in (("by gtrid", BLUE, "gtrid_p99_us"),
                                            ("by key", ORANGE, "key_p99_us"))]
    return {
        "performance-load.svg": grid([
            pair(found, "in_flight", "transactions in flight"),
            pair(found, "payload", "bytes of work for each branch")], note),
        "performance-participants.svg": grid([
            [*pair(found, "branches", "participants of a transaction")[:1], alone],
            pair(found, "idle_participants", "connected participants", 2)], note),
        "performance-surroundings.svg": grid([
            pair(found, "idle", "idle connections"),
            pair(found, "kept", "kept outcomes")], note),
        "performance-recovery.svg": grid([
            [("a log with transactions in doubt, s", "transactions in doubt", doubt),
             ("lookup of an outcome, p99, ms", "kept outcomes", lookups)]], "one run each"),
    }


# --- tables ---

def table(heads, rows):
    return ["", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|",
            *("| " + " | ".join(row) + " |" for row in rows)]


def count(value):
    return f"{value:,.0f}"


def ms(us):
    return f"{us / 1000:.2f}"


def ratio(a, b):
    return f"{a / b:.2f}"


def curve_table(found, name, head, shift=0):
    return table([head, "tx/s", "lowest to highest", "p50 ms", "p99 ms"],
                 [[count(row["x"] + shift), count(row["tx_per_s"]),
                   f"{count(row['tx_per_s_low'])} to {count(row['tx_per_s_high'])}",
                   ms(row["p50_us"]), ms(row["p99_us"])] for row in curve(found, name)])


def memory_table(found):
    doubt, lookups = found["in_doubt"], found["lookups"]
    each = [
        ("transaction in flight", last_two(found, "in_flight", "memory_load_bytes")),
        ("transaction in doubt, after a restart",
         (doubt[-1]["resident_bytes"] - doubt[0]["resident_bytes"])
         / (doubt[-1]["count"] - doubt[0]["count"])),
        ("connected participant", added(found, "idle_participants")),
        ("idle connection", added(found, "idle")),
        ("kept outcome with a key", (lookups[-1]["resident_bytes"] - lookups[0]["resident_bytes"])
         / (lookups[-1]["count"] - lookups[0]["count"]))]
    return table(["memory of the coordinator for each", "bytes"],
                 [[what, count(size)] for what, size in each])


def aims_table(found):
    half, compared = found["half_rate"], found["compared"]
    doubt, lookups = found["in_doubt"][-1], found["lookups"][-1]
    alone = {row["x"]: row for row in curve(found, "branches_alone")}
    most, together = curve(found, "branches_alone")[-1], curve(found, "branches_together")[-1]
    ideal = found["ceilings"][-1]["ideal_p50_us"] / found["ceilings"][0]["ideal_p50_us"]
    rows = [
        (f"{count(compared['idle']['x'])} idle connections: memory of each", "at most 16 KiB",
         f"{added(found, 'idle') / KIB:.1f} KiB"),
        ("tx/s with them, of that without", "no loss",
         f"{compared['idle']['of_usual']:.2f}"),
        (f"{count(compared['kept']['x'])} kept outcomes: tx/s, of that with an empty log",
         "at least 0.90", f"{compared['kept']['of_usual']:.2f}"),
        (f"lookup among {count(lookups['count'])}, p99", "under 1 ms",
         f"{ms(lookups['gtrid_p99_us'])} ms by gtrid, {ms(lookups['key_p99_us'])} ms by key"),
        (f"p50 of {together['x']} participants, 16 in a process, of that of two, one at a time",
         "at most 3", ratio(together["p50_us"], alone[2]["p50_us"])),
        (f"the same with {most['x']} processes on these cores", "",
         f"{ratio(most['p50_us'], alone[2]['p50_us'])} (the ideal loop, with "
         f"{found['ceilings'][-1]['branches']}: {ideal:.2f})"),
        ("p99 at half of the peak rate, of the p50 of a group commit", "at most 5",
         f"{half['of_commit']:.1f} at {count(half['rate'])} tx/s (the ideal loop at that rate: "
         f"{half['ideal_p99_us'] / half['commit_us']:.1f})"),
        (f"{count(doubt['count'])} in doubt: answers, all obeyed, memory of each",
         "2 s, 60 s, 1 KiB",
         f"{doubt['answered_s']:.1f} s, {doubt['obeyed_s']:.1f} s, "
         f"{doubt['resident_bytes'] / doubt['count'] / KIB:.2f} KiB")]
    return table(["", "aim", "measured"], rows)


def recovery_tables(found):
    return [*table(["in doubt", "answers s", "all obeyed s", "memory MiB"],
                   [[count(row["count"]), f"{row['answered_s']:.2f}", f"{row['obeyed_s']:.2f}",
                     f"{row['resident_bytes'] / KIB ** 2:.1f}"] for row in found["in_doubt"]]),
            *table(["kept outcomes", "answers s", "by gtrid p50 ms", "p99 ms", "by key p50 ms",
                    "p99 ms", "memory MiB"],
                   [[count(row["count"]), f"{row['answered_s']:.2f}", ms(row["gtrid_p50_us"]),
                     ms(row["gtrid_p99_us"]), ms(row["key_p50_us"]), ms(row["key_p99_us"]),
                     f"{row['resident_bytes'] / KIB ** 2:.1f}"] for row in found["lookups"]])]


def picture(name, words):
    return ["", f"![{words}](performance-{name}.svg)"]


def tables(found):
    """All between the markers."""
    machine = found["machine"]
    in_memory = " in memory, where syncs cost nothing" if machine["data_dir_in_memory"] else ""
    lines = [f"Measured: assent {found['version']} on {machine['cores']} cores of "
             f"{machine['cpu']}, Linux {machine['kernel']}{in_memory}; {runs(found)}.",
             *aims_table(found), *memory_table(found),
             *picture("load", "Throughput and latency over transactions in flight and payload"),
             *curve_table(found, "in_flight", "in flight"),
             *curve_table(found, "payload", "bytes of work for each branch"),
             *picture("participants", "Throughput and latency over participants"),
             *curve_table(found, "branches", "participants, 64 in flight"),
             *curve_table(found, "branches_alone", "participants, one at a time"),
             *curve_table(found, "branches_together", "16 of them in a process"),
             *curve_table(found, "idle_participants", "connected participants", 2),
             *picture("surroundings", "Throughput and latency over idle connections and kept "
                      "outcomes"),
             *curve_table(found, "idle", "idle connections"),
             *curve_table(found, "kept", "kept outcomes"),
             *picture("recovery", "Time to answer and to be obeyed over transactions in doubt"),
             *recovery_tables(found)]
    return "\n".join(lines)


def between_markers(page, words):
    """The page with its figures replaced."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the markers {BEGIN} and {END} are missing")
    return f"{head}{begin}\n{words}\n{end}{tail}"
