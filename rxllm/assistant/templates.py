"""Templates: text with `{{variables}}`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import ConfigurationError

_VARIABLE = re.compile(r"\{\{\s*([^\W\d]\w*)\s*\}\}")


def render(template: str, variables: Mapping[str, object]) -> str:
    """Return `template` with each `{{name}}` replaced by the text of its variable.

    Values are inserted as they are: a `{{name}}` in a value stays text. Other braces have no meaning.

    Args:
        template: The text.
        variables: The values, by name.

    Raises:
        ConfigurationError: Variables are missing; the message names them.

    >>> render("Dear {{ name }}, {{news}}", {"name": "Ada", "news": "{{name}} is a variable"})
    'Dear Ada, {{name}} is a variable'
    """
    missing = [name for name in template_variables(template) if name not in variables]
    if missing:
        given = ", ".join(sorted(variables)) or "none"
        raise ConfigurationError(f"the template needs variables={{...}} for {', '.join(missing)}; given: {given}")
    return _VARIABLE.sub(lambda found: str(variables[found[1]]), template)


def template_variables(template: str) -> tuple[str, ...]:
    """Return the names of the variables in `template`, each once, in order.

    Args:
        template: The text.

    >>> template_variables("{{a}} and {{ b }} and {{a}}")
    ('a', 'b')
    """
    return tuple(dict.fromkeys(_VARIABLE.findall(template)))
