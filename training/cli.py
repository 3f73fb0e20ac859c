"""The `winnow` command line: its commands, put together.

What a command works with is found in `training.commands.workplace`.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from service.errors import WinnowError
from training.catalogues.left_out import LeftOut
from training.commands import bundles, labelling, loop, retraining, studies
from training.commands.workplace import model_store
from training.console import messages, show_error, show_warning

# Threads that wait for one another sleep: spinning, a training beside other work took three to six times as long.
WAIT_POLICY = ("OMP_WAIT_POLICY", "PASSIVE")  # read when torch and LightGBM are loaded, which commands do later

app = typer.Typer(
    name="winnow",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train, evaluate and serve classifiers of products into independent yes/no classes. "
    "A first tour: [bold]winnow demo-catalogue[/], [bold]winnow train data/demo[/], [bold]winnow serve[/].",
    rich_markup_mode="rich",
)
app.command("demo-catalogue")(bundles.demo_catalogue)
app.command()(bundles.train)
app.command()(bundles.evaluate)
app.command()(labelling.score)
app.command()(retraining.retrain)
app.command()(retraining.gate)
app.command()(bundles.promote)
app.command()(bundles.rollback)
app.command()(retraining.quality)
app.command("audit-labels")(studies.audit_labels)
app.command()(studies.baselines)
app.command()(studies.replay)
app.command()(loop.loop)

models = typer.Typer(no_args_is_help=True, help="The bundles in the model store.")
models.command("list")(bundles.list_models)
models.command("show")(bundles.show_model)
app.add_typer(models, name="models")

queue = typer.Typer(no_args_is_help=True, help="The label queue.")
queue.command("fill")(labelling.fill_queue)
app.add_typer(queue, name="queue")

labels = typer.Typer(no_args_is_help=True, help="The label queue in files, for Label Studio and for analysts.")
labels.command("export")(labelling.export_labels)
labels.command("import")(labelling.import_labels)
labels.command("simulate")(labelling.simulate_labels)
app.add_typer(labels, name="labels")


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 3000,
    train_demo_if_empty: Annotated[
        bool, typer.Option("--train-demo-if-empty", help="Train on the demo catalogue first if there is no bundle.")
    ] = False,
) -> None:
    """Serve the current bundle over HTTP until interrupted."""
    from service.launch import serve as become_server  # noqa: PLC0415  only this command needs it

    if train_demo_if_empty and model_store().current() is None:
        messages.print("There is no bundle yet: training on the demo catalogue, which takes a minute or two.")
        if not (bundles.DEMO_DIRECTORY / "catalogue.toml").is_file():
            bundles.demo_catalogue()
        bundles.train(bundles.DEMO_DIRECTORY)
    become_server(host=host, port=port)


def main() -> None:
    """Run the command line; an error of ours is one sentence and exit status 1."""
    warnings.showwarning = partial(_show_warning, warnings.showwarning)
    os.environ.setdefault(*WAIT_POLICY)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was begun is cleared up
    try:
        app()
    except WinnowError as error:
        show_error(error)
        sys.exit(1)


def _show_warning(
    others: Callable[..., None], message: Warning | str, category: type[Warning], *place: object, **further: object
) -> None:
    """Show a warning of ours as one line, and any other as it would be shown."""
    if issubclass(category, LeftOut):
        show_warning(str(message))
    else:
        others(message, category, *place, **further)


if __name__ == "__main__":
    main()
