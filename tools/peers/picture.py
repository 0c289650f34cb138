"""A picture of ratios: one group of bars a row, one bar a peer, against the line of Expanse's own time. Knows no benchmark."""

COLOURS = ["#4269d0", "#97bbf5", "#efb118", "#6cc5b0", "#a463f2", "#ff725c"]
LEFT, BAR, GAP, WIDTH, TOP = 350, 15, 16, 920, 92
# Where the reader prefers a dark page.
STYLE = ("<style>@media (prefers-color-scheme:dark){"
         '[fill="white"]{fill:#111827}[fill="#222"]{fill:#e5e7eb}[stroke="#222"]{stroke:#e5e7eb}[fill="#555"]{fill:#9ca3af}[stroke="#ddd"]{stroke:#374151}'
         "}</style>")
LONGEST = 12  # longer bars end here, with a mark: the others would be too short to tell apart


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def draw(title, subtitle, groups):
    """groups: [(label, {peer: ratio})]. Returns the text of an SVG."""
    names = list(dict.fromkeys(name for _, bars in groups for name in bars))
    largest = min(LONGEST, max(value for _, bars in groups for value in bars.values()))
    step = next(step for step in (0.5, 1, 2, 5, 10, 20, 50) if largest / step <= 8)
    scale = (WIDTH - LEFT - 70) / max(largest, 1.0)
    height = TOP + sum(len(bars) * BAR + GAP for _, bars in groups) + 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13" fill="#222">',
           STYLE,
           f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
           f'<text x="16" y="28" font-size="18" font-weight="bold">{escape(title)}</text>',
           f'<text x="16" y="48" fill="#555">{escape(subtitle)}</text>']
    x = 16
    for name in names:
        out.append(f'<rect x="{x}" y="60" width="12" height="12" fill="{COLOURS[names.index(name) % len(COLOURS)]}"/>')
        out.append(f'<text x="{x + 17}" y="71">{escape(name)}</text>')
        x += 40 + sum(10.5 if letter.isupper() else 7.5 for letter in name)
    mark = 0.0
    while mark * scale <= WIDTH - LEFT - 50:
        at = LEFT + mark * scale
        out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 8}" y2="{height - 34}" stroke="#ddd"/>')
        out.append(f'<text x="{at:.1f}" y="{height - 18}" text-anchor="middle" fill="#555">{mark:g}×</text>')
        mark += step
    y = TOP
    for label, bars in groups:
        middle = y + len(bars) * BAR / 2 + 4
        out.append(f'<text x="{LEFT - 10}" y="{middle:.0f}" text-anchor="end">{escape(label)}</text>')
        for name, value in bars.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            width = min(value, LONGEST) * scale
            out.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{colour}"/>')
            if value > LONGEST:  # a gap in the bar
                out.append(f'<path d="M{LEFT + width - 14:.1f} {y + BAR} l5 {-BAR - 2} h4 l-5 {BAR + 2} z" fill="white"/>')
            out.append(f'<text x="{LEFT + width + 5:.1f}" y="{y + BAR - 4}" font-size="11">{value:.2f}</text>')
            y += BAR
        y += GAP
    at = LEFT + scale
    out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 8}" y2="{height - 34}" stroke="#222" stroke-width="2"/>')
    return "\n".join(out) + "\n</svg>\n"
