import io
import warnings

from PIL import Image

from quatrain.figures.canvas import new_figure


def test_a_figure_in_a_notebook_is_its_picture():
    figure = new_figure(2, 1)
    figure.add_subplot().set_title("語")  # a letter that the font lacks
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = figure._repr_png_()
    assert Image.open(io.BytesIO(picture)).format == "PNG"
