"""The settings as Dagster's resource, whose fields the Launchpad can set, and those that definitions depend on."""

import os

import click
import dagster as dg

from isles_assets.lib.markdown import escaped, markdown_table
from isles_assets.products.dataset import Dataset
from isles_assets.settings.fields import (
    WHOLE_NUMBER,
    DefinitionFields,
    SettingFields,
    is_whole_number,
    variables_by_field,
)

DatasetParam = dg.ResourceParam[Dataset]
"""The dataset that the graph makes, as a resource."""


class Settings(SettingFields, dg.ConfigurableResource):
    """Where the release comes from, where everything is stored, and where it is published.

    With `EnvVar`, Dagster would lose the values of all variables when the Launchpad sets one field.
    """

    def documented(self, dataset: Dataset) -> "Settings":
        """Return the same settings with a docstring that shows the effective ones.

        Their page in the UI shows the docstring, and otherwise only the fields, which are None if they are not set.
        """
        by_field = {
            name: variable for name, variable in variables_by_field().items() if name in type(self).model_fields
        }
        rows = [(escaped(name), escaped(str(value))) for name, value in self.effective(dataset).items()]
        fields = [
            (name, f"`{variable.name}`", variable.default.format(repo=dataset.release.repo))
            for name, variable in by_field.items()
        ]
        docstring = f"""{(Settings.__doc__ or "").strip().splitlines()[0]}

In force, according to the environment and `.env` when this code location was loaded:

{markdown_table(("what", "is"), rows)}

A field that is `null` has the value of its variable, or if that is unset, the variable's default:

{markdown_table(("field", "variable", "default"), fields)}
"""
        documented_class = type(Settings.__name__, (type(self),), {"__doc__": docstring, "__module__": __name__})
        documented: Settings = documented_class(**{name: getattr(self, name) for name in by_field})
        return documented


class UnusableVariable(click.ClickException, ValueError):  # noqa: N818 - an answer, not an error of the program
    """A variable that definitions depend on cannot be used. Dagster's commands show the message without a trace."""


class DefinitionSettings(DefinitionFields):
    """The settings that Dagster needs while definitions are built."""

    @classmethod
    def from_environment(cls) -> "DefinitionSettings":
        """Return the settings in the environment.

        Raises:
            UnusableVariable: A value is invalid.
        """
        names = {field: variables_by_field()[field].name for field in cls.model_fields}
        values = {field: os.environ.get(name) or None for field, name in names.items()}
        number = values["partitions_per_run"]
        if number and not is_whole_number(number):
            raise UnusableVariable(f"{names['partitions_per_run']} is {number!r}; {WHOLE_NUMBER}")
        return cls.model_validate(values)

    @property
    def backfill_policy(self) -> dg.BackfillPolicy:
        """The policy for one run per backfill, or for several runs of some partitions each."""
        number = self.partitions_per_run
        return dg.BackfillPolicy.multi_run(number) if number else dg.BackfillPolicy.single_run()
