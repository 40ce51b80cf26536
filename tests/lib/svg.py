"""The pictures of the docs: words and lines in one style, written out by hand so that the same
figures give the same bytes."""

import html

FONT = "font-family='DejaVu Sans, Verdana, sans-serif'"
INK, NOTE, GRID = "#1f2937", "#6b7280", "#e5e7eb"


def text(x, y, words, size=12, colour=INK, weight="normal", anchor="middle"):
    return (f"<text x='{x}' y='{y}' {FONT} font-size='{size}' fill='{colour}' "
            f"font-weight='{weight}' text-anchor='{anchor}'>{html.escape(words)}</text>")


def line(x1, y1, x2, y2, colour, width=1):
    return (f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{colour}' "
            f"stroke-width='{width}'/>")


def polyline(points, colour):
    where = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f"<polyline points='{where}' fill='none' stroke='{colour}' stroke-width='2'/>"


def dot(x, y, colour):
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>"


def document(width, height, elements):
    return "\n".join([f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' "
                      f"width='{width}' height='{height}'>",
                      f"<rect width='{width}' height='{height}' fill='#ffffff'/>",
                      *elements, "</svg>", ""])
