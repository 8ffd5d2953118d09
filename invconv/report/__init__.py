"""Documents: texts and grids that know their rows, published figures, pictures, the explorer."""

from invconv.report.document import Document as Document
from invconv.report.entries import Entry as Entry
from invconv.report.entries import Grid as Grid
from invconv.report.entries import Line as Line
from invconv.report.explorer.matches import Match as Match
from invconv.report.explorer.plots import Plot as Plot
from invconv.report.illustrated import Picture as Picture
from invconv.report.illustrated import illustrated as illustrated
