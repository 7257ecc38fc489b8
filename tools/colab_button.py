"""No Colab button while the book has no address: the theme would otherwise fail over the link that it cannot make."""

from sphinx.application import Sphinx
from sphinx.config import Config


def drop_button_without_address(app: Sphinx, config: Config) -> None:
    if not config.html_theme_options.get("repository_url"):
        config.html_theme_options.pop("launch_buttons", None)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", drop_button_without_address)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
