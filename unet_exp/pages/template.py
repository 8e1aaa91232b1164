"""The templates of pages."""

from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape


@cache  # it keeps what it has compiled, which takes longer than most pages
def make_environment(package: str = "unet_exp.pages") -> Environment:
    """Templates of a package, and those that all pages share: `page.html.j2` and the macros of `parts.html.j2`.

    Text in HTML is shown as it is, never as markup.
    """
    return Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in dict.fromkeys((package, "unet_exp.pages"))]),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
