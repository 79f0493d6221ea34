"""A registration as a sequence diagram: SVG without any style or script in it."""

from datetime import UTC, datetime

from markupsafe import Markup

from dpe_server.operators.conversation import Arrow, Registration

WIDTH = 640
LEFT, RIGHT = 150, 490
TOP, STEP = 44, 46


def diagram(registration: Registration) -> Markup:
    """Return the diagram as SVG."""
    arrows = registration.arrows
    height = TOP + STEP * len(arrows) + 22
    parts = [
        Markup(
            '<svg class="sequence" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img"'
            ' aria-labelledby="sequence">'
        ).format(WIDTH, height),
        Markup('<title id="sequence">{}</title>').format(_in_words(arrows)),
        _life(LEFT, "Device", height),
        _life(RIGHT, "Server", height),
    ]
    start = next((arrow.at for arrow in arrows if arrow.at is not None), None)
    for place, arrow in enumerate(arrows):
        parts.append(_arrow(arrow, TOP + STEP * place + 30, start))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def _life(x: int, name: str, height: int) -> Markup:
    return Markup(
        '<g class="life"><line x1="{0}" y1="34" x2="{0}" y2="{1}"/>'
        '<rect x="{2}" y="6" width="90" height="28" rx="6"/><text x="{0}" y="25">{3}</text></g>'
    ).format(x, height - 6, x - 45, name)


def _arrow(arrow: Arrow, y: int, start: float | None) -> Markup:
    tail, head = (LEFT, RIGHT) if arrow.up else (RIGHT, LEFT)
    way = 1 if arrow.up else -1
    point = f"{head - way * 2},{y} {head - way * 12},{y - 5} {head - way * 12},{y + 5}"
    return Markup(
        '<g class="{kind}"><line x1="{tail}" y1="{y}" x2="{end}" y2="{y}"/><polygon points="{point}"/>'
        '<text class="name" x="320" y="{above}">{name}</text><text class="size" x="320" y="{below}">{size}</text>'
        '<text class="time" x="{left}" y="{level}">{time}</text>'
        '<text class="since" x="{right}" y="{level}">{since}</text></g>'
    ).format(
        kind="again" if arrow.again else "arrow",
        tail=tail,
        end=head - way * 10,
        y=y,
        point=point,
        above=y - 7,
        below=y + 15,
        level=y + 4,
        left=LEFT - 12,
        right=RIGHT + 12,
        name=arrow.name,
        size=", ".join(_details(arrow)),
        time="" if arrow.at is None else clock(arrow.at),
        since=_since(arrow, start),
    )


def _details(arrow: Arrow) -> list[str]:
    told = []
    if arrow.size is not None:
        told.append(f"{arrow.size} bytes" + (f" ({arrow.payload} of DPE-1)" if arrow.payload else ""))
    elif arrow.payload is not None:
        told.append(f"{arrow.payload} bytes of DPE-1")
    if arrow.note:
        told.append(arrow.note)
    return told


def _since(arrow: Arrow, start: float | None) -> str:
    if arrow.at is None or start is None or arrow.at == start:
        return ""
    seconds = arrow.at - start
    if seconds >= 100:
        return f"+{seconds:,.0f} s"
    return f"+{seconds:.1f} s" if seconds >= 1 else f"+{1000 * seconds:.1f} ms"


def _in_words(arrows: list[Arrow]) -> str:
    """Return the diagram for who cannot see it."""
    ways = {True: "device to server", False: "server to device"}
    return "; ".join(": ".join([f"{arrow.name}, {ways[arrow.up]}", *_details(arrow)]) for arrow in arrows)


def clock(at: float) -> str:
    """Return the time of a day (UTC) with milliseconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]
