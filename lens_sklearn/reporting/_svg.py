"""matplotlib's pictures as SVG within a page, in colors that follow its theme."""

import colorsys
import io
import re
from xml.etree import ElementTree

from ..displays import load_matplotlib
from ._html import Markup, join, tag, visible

SIZE = (4.8, 3.4)
#: A picture of more colors has a color map.
MOST_COLORS = 20
_WEIGHTS = (0.2126, 0.7152, 0.0722)  # of red, green and blue in what looks light
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_COLOR = re.compile(r"\b(fill|stroke): ?#([0-9a-fA-F]{6})\b")
_LINK = re.compile(r"url\(#([^)]+)\)")
#: Text stays paths, so that it looks alike everywhere and needs no font.
_SETTINGS = {"svg.hashsalt": "lens-sklearn", "svg.fonttype": "path", "font.size": 10}


class Pictures:
    """The pictures of one page: their numbers, and the colors that they use.

    Attributes
    ----------
    colors : set of (str, str)
        What a color is of, "c" for few and "m" for a color map, and the color, hexadecimal in
        lower case without ``#``.
    count : int
        Pictures so far.
    """

    def __init__(self):
        self.colors, self.count = set(), 0

    def draw(self, plot, tell):
        """Draw a picture.

        Parameters
        ----------
        plot : callable
            Draws on the axes that it is given, and returns the display.
        tell : callable
            Returns of the display what the picture shows, with its numbers, for who cannot see
            it, and what stands below it.

        Returns
        -------
        display : object
            What `plot` returned.
        figure : Markup
            The picture and its caption.
        """
        style = load_matplotlib("style")
        with style.context(["default", _SETTINGS]):  # whatever its user's settings are
            figure = load_matplotlib("figure").Figure(figsize=SIZE, layout="constrained")
            display = plot(figure.add_subplot())
            file = io.BytesIO()
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        alt, caption = tell(display)
        picture = self._inline(file.getvalue(), alt)
        return display, tag("figure", picture, tag("figcaption", caption))

    def _inline(self, content, alt):
        """Return an SVG file as an element of the page."""
        self.count += 1
        found = {match[2].lower() for match in _COLOR.finditer(content.decode())}
        self._kind = "m" if len(found) > MOST_COLORS else "c"
        root = ElementTree.fromstring(content)
        for parent in list(root.iter()):
            for child in list(parent):
                if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                    parent.remove(child)
        for element in root.iter():
            element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
            element.attrib = {
                key.replace(f"{{{_XLINK}}}", "xlink:"): self._attribute(key, value)
                for key, value in element.attrib.items()
            }
        for name in ("width", "height", "version"):
            root.attrib.pop(name, None)
        root.attrib |= {"role": "img", "aria-label": visible(alt)}
        return Markup(ElementTree.tostring(root, encoding="unicode"))

    def _attribute(self, key, value):
        """Return an attribute with names of this picture and colors of the page."""
        prefix = f"p{self.count}-"
        if key == "id":
            return prefix + value
        if key.endswith("href"):
            return value.replace("#", f"#{prefix}", 1)
        if key == "style":
            value = _COLOR.sub(self._color, value)
        return _LINK.sub(rf"url(#{prefix}\1)", value)

    def _color(self, found):
        color = found[2].lower()
        self.colors.add((self._kind, color))
        return f"{found[1]}: var(--{self._kind}{color})"

    def styles(self):
        """Return the colors as custom properties, for light and for dark.

        Returns
        -------
        str
            CSS.
        """
        colors = sorted(self.colors)
        light = "".join(f"--{kind}{color}:#{color};" for kind, color in colors)
        dark = "".join(
            f"--{kind}{color}:#{in_the_dark(color, of_map=kind == 'm')};" for kind, color in colors
        )
        return f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def side_by_side(figures):
    """Return figures that stand beside each other where there is room."""
    return tag("div", join(figures), class_="figures")


def in_the_dark(color, *, of_map=False):
    """Return the color that stands for another on a dark ground.

    Parameters
    ----------
    color : str
        Hexadecimal, without ``#``.
    of_map : bool, default=False
        Whether it is of a color map, whose light end goes under as it does on white.

    Returns
    -------
    str
        Of the same hue, light for dark: white comes near the ground.
    """
    parts = [int(color[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    if of_map:
        turned = _turn_luminance(parts)
    else:
        hue, lightness, saturation = colorsys.rgb_to_hls(*parts)
        lightness = 0.92 - 0.82 * lightness
        if saturation > 0.25:  # a gray may go under, a color says something
            lightness = max(lightness, 0.62)
        turned = colorsys.hls_to_rgb(hue, lightness, saturation)
    return "".join(f"{round(255 * part):02x}" for part in turned)


def _turn_luminance(parts):
    """Return a color as dark as the other is light: a map is read by that, whatever its hues."""
    linear = [part**2.2 for part in parts]
    luminance = sum(w * part for w, part in zip(_WEIGHTS, linear, strict=True))
    wanted = (0.95 - 0.65 * luminance ** (1 / 3)) ** 3
    if wanted < luminance:
        linear = [part * wanted / luminance for part in linear]
    else:  # lighter by as much white as it takes
        white = (wanted - luminance) / (1 - luminance)
        linear = [part + white * (1 - part) for part in linear]
    return [part ** (1 / 2.2) for part in linear]
